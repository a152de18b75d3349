"""The obvious Gram matrix: dense times dense."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.csr import CSR


def gram(a: CSR) -> Tensor:
    """``AᵀA`` [C, C] dense."""
    dense = a.dense().double()
    return (dense.T @ dense).float()


def largest(dense: Tensor, k: int) -> Tensor:
    """The k largest entries of each row that are not zero, ties to the lower column, the others 0; row by row."""
    out = torch.zeros_like(dense)
    for row, values in enumerate(dense.tolist()):
        order = sorted((j for j, value in enumerate(values) if value != 0), key=lambda j: (-values[j], j))
        for j in order[:k]:
            out[row, j] = values[j]
    return out
