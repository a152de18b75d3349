"""Experiments: a typed description in, a result on disk out; search on valid, significance, tables."""

from __future__ import annotations

from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity, describe
from mmgraph.experiment.journal import openings
from mmgraph.experiment.result import Result
from mmgraph.experiment.running import Prepared, RunExists, Search, Trial, prepare, restore, run, run_all, search
from mmgraph.experiment.saved import CodeNeeded, Saved, load, save
from mmgraph.experiment.significance import Comparison, compare, holm
from mmgraph.experiment.tables import ResultTable, table

__all__ = [
    "CodeNeeded",
    "Comparison",
    "Experiment",
    "Identity",
    "Prepared",
    "Result",
    "ResultTable",
    "RunExists",
    "Saved",
    "Search",
    "Trial",
    "compare",
    "describe",
    "holm",
    "load",
    "openings",
    "prepare",
    "restore",
    "run",
    "run_all",
    "save",
    "search",
    "table",
]
