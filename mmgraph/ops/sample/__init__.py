"""Seeded, vectorised sampling: negatives, neighbours, random walks. No Python loop over users."""

from __future__ import annotations

from mmgraph.ops.sample.negatives import Negatives, log_q, negatives
from mmgraph.ops.sample.neighbours import Block, k_hop, sample_neighbours
from mmgraph.ops.sample.walks import Visits, random_walks

__all__ = [
    "Block",
    "Negatives",
    "Visits",
    "k_hop",
    "log_q",
    "negatives",
    "random_walks",
    "sample_neighbours",
]
