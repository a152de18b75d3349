"""Recommenders, one file a paper."""

from __future__ import annotations

from mmgraph.models.base import Embeddings, Recommender, Rows
from mmgraph.models.lightgcn import BPRMF, LightGCN
from mmgraph.models.mmgcn import MMGCN, HeteroMMGCN
from mmgraph.models.neighbours import EASE, ItemKNN, Popularity

__all__ = [
    "BPRMF",
    "EASE",
    "MMGCN",
    "Embeddings",
    "HeteroMMGCN",
    "ItemKNN",
    "LightGCN",
    "Popularity",
    "Recommender",
    "Rows",
]
