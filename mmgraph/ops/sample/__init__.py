"""Seeded, vectorised sampling: negatives, neighbours, random walks. No Python loop over users."""

from __future__ import annotations

from mmgraph.ops.sample.negatives import Negatives, in_batch_logits, log_q, negatives
from mmgraph.ops.sample.neighbours import Block, k_hop, random_walk_neighbours, sample_neighbours, walk

__all__ = [
    "Block",
    "Negatives",
    "in_batch_logits",
    "k_hop",
    "log_q",
    "negatives",
    "random_walk_neighbours",
    "sample_neighbours",
    "walk",
]
