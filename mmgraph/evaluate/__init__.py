"""Full ranking and given candidates, metrics with every list kept, and the one door to the sealed test."""

from __future__ import annotations

from mmgraph.evaluate.beyond import Calibration, ExposureShare, Novelty, OfEntity, new_videos, tail_videos
from mmgraph.evaluate.evalconfig import EvalConfig
from mmgraph.evaluate.evaluation import Evaluation, Opening
from mmgraph.evaluate.judging import evaluate, evaluate_lists, evaluate_test
from mmgraph.evaluate.metrics import (
    average_popularity,
    coverage,
    gini,
    mann_whitney_auc,
    new_recall,
    new_share,
    top_k_metrics,
)
from mmgraph.evaluate.ranking import Ranking
from mmgraph.evaluate.requests import Requests, SampledCandidates

__all__ = [
    "Calibration",
    "EvalConfig",
    "Evaluation",
    "ExposureShare",
    "Novelty",
    "OfEntity",
    "Opening",
    "Ranking",
    "Requests",
    "SampledCandidates",
    "average_popularity",
    "coverage",
    "evaluate",
    "evaluate_lists",
    "evaluate_test",
    "gini",
    "mann_whitney_auc",
    "new_recall",
    "new_share",
    "new_videos",
    "tail_videos",
    "top_k_metrics",
]
