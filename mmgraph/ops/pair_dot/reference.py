"""Dot products of each row with rows of its own, the obvious way: gather them all, [B, N, D]. Slow; the truth that the
others must equal."""

from __future__ import annotations

import torch
from torch import Tensor


def dots(left: Tensor, right: Tensor, places: Tensor) -> Tensor:
    """``out[b, n] = left[b] · right[places[b, n]]``, [B, N]; adds in float32 or wider."""
    wide = torch.promote_types(left.dtype, torch.float32)
    return (left.to(wide).unsqueeze(1) * right.to(wide)[places]).sum(2).to(left.dtype)


def sums(weight: Tensor, right: Tensor, places: Tensor) -> Tensor:
    """``out[b] = Σ_n weight[b, n] right[places[b, n]]``, [B, D]."""
    wide = torch.promote_types(right.dtype, torch.float32)
    return (weight.to(wide).unsqueeze(2) * right.to(wide)[places]).sum(1).to(right.dtype)


def spread(weight: Tensor, left: Tensor, places: Tensor, rows: int) -> Tensor:
    """``out[v] = Σ weight[b, n] left[b]`` over the b, n with ``places[b, n]`` = v, [rows, D]."""
    wide = torch.promote_types(left.dtype, torch.float32)
    each = weight.to(wide).unsqueeze(2) * left.to(wide).unsqueeze(1)
    out = torch.zeros(rows, left.shape[1], dtype=wide, device=left.device)
    return out.index_add_(0, places.flatten(), each.flatten(0, 1)).to(left.dtype)
