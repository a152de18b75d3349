"""Experiments: a typed description in, a result on disk out; search on valid, significance, tables."""

from __future__ import annotations

from mmgraph.experiment.config import Experiment
from mmgraph.experiment.result import Result
from mmgraph.experiment.run import Prepared, Search, Trial, prepare, restore, run, run_all, search
from mmgraph.experiment.significance import Comparison, compare, holm
from mmgraph.experiment.tables import ResultTable, table

__all__ = [
    "Comparison",
    "Experiment",
    "Prepared",
    "Result",
    "ResultTable",
    "Search",
    "Trial",
    "compare",
    "holm",
    "prepare",
    "restore",
    "run",
    "run_all",
    "search",
    "table",
]
