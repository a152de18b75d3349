"""The obvious graph attention: softmax over each row's edges, then a weighted sum."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax(indptr: Tensor, logits: Tensor) -> Tensor:
    """[E, H] softmax over the edges of each row, computed in float32 or wider."""
    rows = indptr.numel() - 1
    row = torch.repeat_interleave(torch.arange(rows, device=logits.device), indptr[1:] - indptr[:-1])
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index = row.unsqueeze(1).expand_as(wide)
    top = torch.full((rows, wide.shape[1]), -torch.inf, dtype=wide.dtype, device=wide.device)
    top = top.scatter_reduce(0, index, wide.detach(), "amax")
    top = torch.where(top == -torch.inf, 0.0, top)  # a row of -inf alone gives 0, not NaN
    power = (wide - top[row]).exp()
    total = torch.zeros_like(top).index_add(0, row, power)
    return (power / torch.where(total == 0, 1.0, total)[row]).to(logits.dtype)


def attend(indptr: Tensor, indices: Tensor, logits: Tensor, x: Tensor) -> Tensor:
    """[R, H, D] the rows of ``x`` [C, H, D] weighted by ``softmax``."""
    rows = indptr.numel() - 1
    row = torch.repeat_interleave(torch.arange(rows, device=x.device), indptr[1:] - indptr[:-1])
    wide = torch.promote_types(x.dtype, torch.float32)
    weight = softmax(indptr, logits.to(torch.promote_types(logits.dtype, torch.float32))).to(wide)
    message = x[indices.long()].to(wide) * weight.unsqueeze(2)
    return torch.zeros(rows, *x.shape[1:], dtype=wide, device=x.device).index_add(0, row, message).to(x.dtype)


def softmax_backward(indptr: Tensor, alpha: Tensor, grad: Tensor) -> Tensor:
    """``alpha (grad - the row's sum of alpha · grad)``, [E, H]."""
    rows = indptr.numel() - 1
    row = torch.repeat_interleave(torch.arange(rows, device=alpha.device), indptr[1:] - indptr[:-1])
    wide = torch.promote_types(alpha.dtype, torch.float32)
    product = alpha.to(wide) * grad.to(wide)
    mean = torch.zeros(rows, alpha.shape[1], dtype=wide, device=alpha.device).index_add(0, row, product)
    return (product - alpha.to(wide) * mean[row]).to(alpha.dtype)
