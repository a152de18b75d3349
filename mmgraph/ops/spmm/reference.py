"""The obvious SpMM: gather the neighbours, weigh them, add them up. Slow; the truth that the others must
equal."""

from __future__ import annotations

import torch
from torch import Tensor


def matmul(indptr: Tensor, indices: Tensor, values: Tensor | None, x: Tensor) -> Tensor:
    """``y[i] = sum over the edges e of row i of values[e] · x[indices[e]]``, [R, D]; adds in float32 or
    wider."""
    rows = indptr.numel() - 1
    row = torch.repeat_interleave(torch.arange(rows, device=x.device), indptr[1:] - indptr[:-1])
    wide = torch.promote_types(x.dtype, torch.float32)
    messages = x[indices.long()].to(wide)
    if values is not None:
        messages = messages * values.to(wide).unsqueeze(1)
    return torch.zeros(rows, x.shape[1], dtype=wide, device=x.device).index_add(0, row, messages).to(x.dtype)


def edge_dot(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``out[e] = left[row of e] · right[indices[e]]`` for every edge (SDDMM), [E]."""
    row = torch.repeat_interleave(torch.arange(indptr.numel() - 1, device=left.device), indptr[1:] - indptr[:-1])
    wide = torch.promote_types(left.dtype, torch.float32)
    return (left[row].to(wide) * right[indices.long()].to(wide)).sum(1).to(left.dtype)
