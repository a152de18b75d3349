"""The ops: pure functions of tensors, each with a slow reference that every faster version equals."""

from __future__ import annotations

from mmgraph.ops.csr import CSR
from mmgraph.ops.propagate import propagate
from mmgraph.ops.spmm import edge_dot, spmm

__all__ = ["CSR", "edge_dot", "propagate", "spmm"]
