"""The ops: pure functions of tensors, each with a slow reference that every faster version equals."""

from __future__ import annotations

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.gram import dense_gram, gram, gram_blocks
from mmgraph.ops.knn import Neighbours, knn
from mmgraph.ops.pair_dot import pair_dot
from mmgraph.ops.propagate import propagate
from mmgraph.ops.sample import (
    Block,
    Negatives,
    Visits,
    k_hop,
    log_q,
    negatives,
    random_walks,
    sample_neighbours,
)
from mmgraph.ops.segment_softmax import attend, segment_softmax
from mmgraph.ops.spmm import edge_dot, spmm
from mmgraph.ops.topk import TopK, TopKIndex, best_of, topk, topk_scores

__all__ = [
    "CSR",
    "Block",
    "Negatives",
    "Neighbours",
    "TopK",
    "TopKIndex",
    "Visits",
    "attend",
    "best_of",
    "checks",
    "dense_gram",
    "edge_dot",
    "gram",
    "gram_blocks",
    "k_hop",
    "knn",
    "log_q",
    "negatives",
    "pair_dot",
    "propagate",
    "random_walks",
    "sample_neighbours",
    "segment_softmax",
    "spmm",
    "topk",
    "topk_scores",
]
