"""SpMM on CPU over ``torch.nn.functional.embedding_bag``: a bag is a row, its members the neighbours.

embedding_bag streams the indices, keeps one row of sums in registers, and splits the bags over threads;
nothing of size E x D is ever written.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_PANEL = 1 << 13  # edges gathered at a time in edge_dot: two panels of rows fit in the caches


def matmul(indptr: Tensor, indices: Tensor, values: Tensor | None, x: Tensor) -> Tensor:
    """``A x``, [R, D]; the arguments of ``reference.matmul``."""
    rows = indptr.numel() - 1
    if indices.numel() == 0 or x.numel() == 0:
        return x.new_zeros(rows, x.shape[1])
    if indices.dtype == torch.int32:
        # Offsets and indices must have one type.
        indptr, indices = (indptr.int(), indices) if indices.numel() < 2**31 else (indptr, indices.long())
    if values is not None:
        values = values.to(x.dtype)
    return embedding_bag(
        indices, x.contiguous(), indptr, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def edge_dot(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """SDDMM in panels of edges, so that the gathered rows stay in cache; as ``reference.edge_dot``."""
    row = torch.repeat_interleave(torch.arange(indptr.numel() - 1, dtype=indices.dtype), indptr[1:] - indptr[:-1])
    wide = torch.promote_types(left.dtype, torch.float32)
    out = left.new_empty(indices.numel())
    for start in range(0, indices.numel(), _PANEL):
        part = slice(start, start + _PANEL)
        product = left.index_select(0, row[part]).to(wide) * right.index_select(0, indices[part]).to(wide)
        out[part] = product.sum(1)
    return out
