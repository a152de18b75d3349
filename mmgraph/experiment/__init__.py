"""Experiments: a typed description in, a result on disk out; search on valid, significance, tables."""

from __future__ import annotations

from mmgraph.experiment.claims import Ledger, copied, near, quoted, read_ledger
from mmgraph.experiment.claims import beside as beside_claims
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity, describe
from mmgraph.experiment.index import extract, finished, index
from mmgraph.experiment.journal import openings
from mmgraph.experiment.preparing import Prepared, prepare
from mmgraph.experiment.result import Result
from mmgraph.experiment.running import restore, run, run_all, train
from mmgraph.experiment.saved import Saved, load, save
from mmgraph.experiment.saved_arguments import CodeNeeded
from mmgraph.experiment.searching import Search, Trial, search
from mmgraph.experiment.significance import Comparison, compare, compare_family, holm
from mmgraph.experiment.space import Choice, Integer, Tuning, Uniform
from mmgraph.experiment.suite import Job, Progress, Suite
from mmgraph.experiment.suite_queue import run_suite, suite_progress, suite_results
from mmgraph.experiment.tables import ResultTable, table
from mmgraph.experiment.trained import RunExists, Trained
from mmgraph.experiment.tuning import tune

__all__ = [
    "Choice",
    "CodeNeeded",
    "Comparison",
    "Experiment",
    "Identity",
    "Integer",
    "Job",
    "Ledger",
    "Prepared",
    "Progress",
    "Result",
    "ResultTable",
    "RunExists",
    "Saved",
    "Search",
    "Suite",
    "Trained",
    "Trial",
    "Tuning",
    "Uniform",
    "beside_claims",
    "compare",
    "compare_family",
    "copied",
    "describe",
    "extract",
    "finished",
    "holm",
    "index",
    "load",
    "near",
    "openings",
    "prepare",
    "quoted",
    "read_ledger",
    "restore",
    "run",
    "run_all",
    "run_suite",
    "save",
    "search",
    "suite_progress",
    "suite_results",
    "table",
    "train",
    "tune",
]
