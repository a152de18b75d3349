"""Graph attention on CPU: softmax by segments, then one SpMM a head."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.operand import Operand
from mmgraph.ops.spmm import cpu as spmm


def _rows(indptr: Tensor) -> Tensor:
    count = indptr[1:] - indptr[:-1]
    return torch.repeat_interleave(torch.arange(count.numel(), dtype=torch.int32), count)


def _row_sum(indptr: Tensor, value: Tensor) -> Tensor:
    """[R, H] sums over the edges of each row."""
    edge = torch.arange(value.shape[0], dtype=torch.int32)
    return spmm.matmul(indptr, edge, None, value)


def _power(indptr: Tensor, row: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """exp(logits - the row's largest) [E, H]; each row's largest and sum of exponentials, [2, R, H]."""
    if logits.shape[0] == 0:
        empty = logits.new_zeros(2, indptr.numel() - 1, logits.shape[1])
        empty[1] = 1.0
        return logits.clone(), empty
    top = torch.segment_reduce(logits, "max", offsets=indptr, axis=0, unsafe=True, initial=-torch.inf)
    top = torch.where(top == -torch.inf, 0.0, top)
    power = (logits - top.index_select(0, row)).exp_()
    mass = _row_sum(indptr, power)
    return power, torch.stack([top, torch.where(mass == 0, 1.0, mass)])


def softmax(indptr: Tensor, logits: Tensor) -> Tensor:
    """As ``reference.softmax``."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    row = _rows(indptr)
    power, stats = _power(indptr, row, wide)
    return power.div_(stats[1].index_select(0, row)).to(logits.dtype)


def softmax_backward(indptr: Tensor, alpha: Tensor, grad: Tensor) -> Tensor:
    """``alpha (grad - the row's sum of alpha · grad)``, [E, H]."""
    wide = torch.promote_types(alpha.dtype, torch.float32)
    product = alpha.to(wide) * grad.to(wide)
    mean = _row_sum(indptr, product).index_select(0, _rows(indptr))
    return product.sub_(alpha.to(wide) * mean).to(alpha.dtype)


def _alpha(indptr: Tensor, logits: Tensor, stats: Tensor) -> Tensor:
    row = _rows(indptr)
    power = (logits.to(stats.dtype) - stats[0].index_select(0, row)).exp_()
    return power.div_(stats[1].index_select(0, row))


def attend(indptr: Tensor, indices: Tensor, logits: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """[R, H, D] weighted sums; [2, R, H] each row's largest logit and sum of exponentials (float32 or
    wider)."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    power, stats = _power(indptr, _rows(indptr), wide)
    out = x.new_empty(indptr.numel() - 1, *x.shape[1:])
    for head in range(x.shape[1]):
        part = spmm.matmul(indptr, indices, power[:, head].contiguous(), x[:, head])
        out[:, head] = part / stats[1, :, head, None].to(part.dtype)
    return out, stats


def attend_backward(
    a: Operand, logits: Tensor, x: Tensor, out: Tensor, stats: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of logits [E, H] and x [C, H, D]. The row's mean of the gradient is ``grad · out``."""
    assert a.t_order is not None
    alpha = _alpha(a.indptr, logits, stats)
    mean = (grad * out).sum(2, dtype=stats.dtype)
    grad_x, grad_alpha = torch.empty_like(x), torch.empty_like(alpha)
    for head in range(x.shape[1]):
        part, features = grad[:, head].contiguous(), x[:, head].contiguous()
        weight = alpha[:, head].index_select(0, a.t_order)
        grad_x[:, head] = spmm.matmul(a.t_indptr, a.t_indices, weight, part)
        grad_alpha[:, head] = spmm.edge_dot(a.indptr, a.indices, part, features)
    grad_alpha.sub_(mean.index_select(0, _rows(a.indptr))).mul_(alpha)
    return grad_alpha.to(logits.dtype), grad_x
