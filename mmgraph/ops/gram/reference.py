"""The obvious Gram matrix: dense times dense."""

from __future__ import annotations

from torch import Tensor

from mmgraph.ops.csr import CSR


def gram(a: CSR) -> Tensor:
    """``AᵀA`` [C, C] dense."""
    dense = a.dense().double()
    return (dense.T @ dense).float()
