"""Losses: pure functions with closed forms. Each returns a scalar."""

from __future__ import annotations

from mmgraph.losses.contrast import alignment, bernoulli_divergence, info_nce, moment_alignment, neighbour_nce
from mmgraph.losses.gaussian import kl_gaussian, multinomial_nll
from mmgraph.losses.ranking import bce, bpr, doubts, embedding_l2, two_way_bpr
from mmgraph.losses.softmax import in_batch_nll, softmax_cross_entropy

__all__ = [
    "alignment",
    "bce",
    "bernoulli_divergence",
    "bpr",
    "doubts",
    "embedding_l2",
    "in_batch_nll",
    "info_nce",
    "kl_gaussian",
    "moment_alignment",
    "multinomial_nll",
    "neighbour_nce",
    "softmax_cross_entropy",
    "two_way_bpr",
]
