"""Graph attention on CPU: softmax by segments, then one ``embedding_bag`` a head."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.spmm import cpu as spmm


def _rows(indptr: Tensor) -> Tensor:
    count = indptr[1:] - indptr[:-1]
    return torch.repeat_interleave(torch.arange(count.numel(), dtype=torch.int32), count)


def _row_sum(indptr: Tensor, value: Tensor) -> Tensor:
    """[R, H] sums over the edges of each row."""
    edge = torch.arange(value.shape[0], dtype=torch.int32)
    return spmm.matmul(indptr, edge, None, value)


def _log_sum(indptr: Tensor, row: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """exp(logits - the row's largest) [E, H] and the log of each row's sum of exponentials [R, H]."""
    if logits.shape[0] == 0:
        return logits, logits.new_full((indptr.numel() - 1, logits.shape[1]), -torch.inf)
    top = torch.segment_reduce(logits, "max", offsets=indptr, axis=0, unsafe=True, initial=-torch.inf)
    finite = torch.where(top == -torch.inf, 0.0, top)
    power = (logits - finite.index_select(0, row)).exp_()
    return power, finite + _row_sum(indptr, power).log_()


def softmax(indptr: Tensor, logits: Tensor) -> Tensor:
    """As ``reference.softmax``."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    row = _rows(indptr)
    power, _ = _log_sum(indptr, row, wide)
    total = _row_sum(indptr, power)
    total = torch.where(total == 0, 1.0, total)
    return power.div_(total.index_select(0, row)).to(logits.dtype)


def softmax_backward(indptr: Tensor, alpha: Tensor, grad: Tensor) -> Tensor:
    """``alpha (grad - the row's sum of alpha · grad)``, [E, H]."""
    wide = torch.promote_types(alpha.dtype, torch.float32)
    product = alpha.to(wide) * grad.to(wide)
    mean = _row_sum(indptr, product).index_select(0, _rows(indptr))
    return product.sub_(alpha.to(wide) * mean).to(alpha.dtype)


def _alpha(indptr: Tensor, logits: Tensor, log_sum: Tensor) -> Tensor:
    shift = torch.where(log_sum == -torch.inf, torch.inf, log_sum)
    wide = logits.to(log_sum.dtype)
    return (wide - shift.index_select(0, _rows(indptr))).exp_()


def attend(indptr: Tensor, indices: Tensor, logits: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """[R, H, D] weighted sums, and [R, H] the log of each row's sum of exponentials (float32 or wider)."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    power, log_sum = _log_sum(indptr, _rows(indptr), wide)
    total = torch.where(log_sum == -torch.inf, 0.0, _row_sum(indptr, power))
    total = torch.where(total == 0, 1.0, total)
    out = x.new_empty(indptr.numel() - 1, *x.shape[1:])
    for head in range(x.shape[1]):
        part = spmm.matmul(indptr, indices, power[:, head].contiguous(), x[:, head])
        out[:, head] = part / total[:, head, None].to(part.dtype)
    return out, log_sum


def attend_backward(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_order: Tensor,
    logits: Tensor,
    x: Tensor,
    out: Tensor,
    log_sum: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor]:
    """The gradients of logits [E, H] and x [C, H, D]. The row's mean of the gradient is ``grad · out``."""
    alpha = _alpha(indptr, logits, log_sum)
    mean = (grad * out).sum(2, dtype=log_sum.dtype)
    grad_x, grad_alpha = torch.empty_like(x), torch.empty_like(alpha)
    for head in range(x.shape[1]):
        part, features = grad[:, head].contiguous(), x[:, head].contiguous()
        weight = alpha[:, head].index_select(0, t_order)
        grad_x[:, head] = spmm.matmul(t_indptr, t_indices, weight, part)
        grad_alpha[:, head] = spmm.edge_dot(indptr, indices, part, features)
    grad_alpha.sub_(mean.index_select(0, _rows(indptr))).mul_(alpha)
    return grad_alpha.to(logits.dtype), grad_x
