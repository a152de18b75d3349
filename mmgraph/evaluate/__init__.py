"""Full ranking, metrics with every user's value kept, and the one door to the sealed test."""

from __future__ import annotations

from mmgraph.evaluate.metrics import average_popularity, coverage, gini, mann_whitney_auc, top_k_metrics
from mmgraph.evaluate.ranking import EvalConfig, Evaluation, Opening, evaluate, evaluate_test

__all__ = [
    "EvalConfig",
    "Evaluation",
    "Opening",
    "average_popularity",
    "coverage",
    "evaluate",
    "evaluate_test",
    "gini",
    "mann_whitney_auc",
    "top_k_metrics",
]
