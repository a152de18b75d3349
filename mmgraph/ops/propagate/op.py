"""The propagation as an op that torch knows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgraph.ops.library import Op
from mmgraph.ops.operand import Operand
from mmgraph.ops.spmm.matmul import Batch, times, times_batch


@Op
def propagate_op(
    a: Operand,
    x: Tensor,
    learned: Tensor | None,
    fixed: Sequence[float],
    rows: Tensor | None,
    with_input: bool,
    impl: str,
    storage: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    """The sum of the layers, and ``x[rows]``, empty if not wanted. Layers weigh ``learned``, else ``fixed``."""
    weight = fixed if learned is None else learned.tolist()
    last = len(weight) - 1
    own = x if rows is None else x.index_select(0, rows)
    out = own * weight[0]
    layer = x if storage is None else x.to(storage)
    for k in range(1, last + 1):
        if k == last and rows is not None:
            out.add_(times(a, layer, impl, rows), alpha=weight[k])
            break
        layer = times(a, layer, impl)
        if weight[k]:
            out.add_(layer if rows is None else layer.index_select(0, rows), alpha=weight[k])
    return out, own if with_input else x.new_empty(0, x.shape[1])


@Op
def propagate_adjoint_op(
    a: Operand,
    grad: Tensor,
    own: Tensor | None,
    learned: Tensor | None,
    fixed: Sequence[float],
    rows: Tensor | None,
    impl: str,
    storage: torch.dtype | None,
) -> Tensor:
    """Horner form on the gradient. Only ``rows`` of it are not zero, which the first product uses."""
    back = a.transposed()
    weight = fixed if learned is None else learned.tolist()
    last = len(weight) - 1
    if rows is None:
        out = (grad * weight[last]).to(storage or grad.dtype)
        for k in range(last - 1, -1, -1):
            out = times(back, out, impl)
            if weight[k]:
                out.add_(grad, alpha=weight[k])
        return out.to(grad.dtype)
    batch = Batch.of(rows, a.shape[1])
    packed = batch.pack(grad)
    lasting = None if own is None else batch.pack(own)
    if last == 0:
        out = packed * weight[0] if lasting is None else lasting.add_(packed, alpha=weight[0])
        return grad.new_zeros(len(batch.slot), grad.shape[1]).index_copy_(0, batch.rows, out)
    out = (packed * weight[last]).to(storage or grad.dtype)
    for k in range(last - 1, -1, -1):
        plus = packed * weight[k] if k or lasting is None else lasting.add_(packed, alpha=weight[0])
        plus = plus.to(grad.dtype if k == 0 else out.dtype)
        out = times_batch(back, out, impl, batch, packed=k == last - 1, plus=plus, dtype=plus.dtype)
    return out


@Op
def propagate_dots_op(
    a: Operand,
    x: Tensor,
    grad: Tensor,
    learned: Tensor,
    rows: Tensor | None,
    impl: str,
    storage: torch.dtype | None,
) -> Tensor:
    """``out[k] = <grad, (Aᵏ x)[rows]>``: the gradient of the layers' weights. The layers are computed again."""
    last = learned.numel() - 1
    out, layer = [], x if storage is None else x.to(storage)
    for k in range(last + 1):
        if k == last and k and rows is not None:
            part = times(a, layer, impl, rows)
        else:
            layer = layer if k == 0 else times(a, layer, impl)
            part = layer if rows is None else layer.index_select(0, rows)
        out.append((part.to(torch.promote_types(x.dtype, torch.float32)) * grad).sum())
    return torch.stack(out).to(learned.dtype)


@propagate_op.fake
def _(a, x, learned, fixed, rows, with_input, impl, storage):
    count = x.shape[0] if rows is None else rows.shape[0]
    return x.new_empty(count, x.shape[1]), x.new_empty(count if with_input else 0, x.shape[1])


propagate_adjoint_op.fake(lambda a, grad, *_: grad.new_empty(a.shape[1], grad.shape[1]))
propagate_dots_op.fake(lambda a, x, grad, learned, *_: torch.empty_like(learned))


def _gradient(a, x, learned, fixed, rows, with_input, impl, storage, needs, grad, own):
    grad = torch.zeros_like(own) if grad is None else grad.contiguous()
    own = own.contiguous() if own is not None and with_input else None
    out = {}
    if "x" in needs:
        out["x"] = propagate_adjoint_op(a, grad, own, learned, fixed, rows, impl, storage)
    if "learned" in needs:
        out["learned"] = propagate_dots_op(a, x, grad, learned, rows, impl, storage)
    return out


propagate_op.gradient(_gradient, unread=lambda needs: set() if "learned" in needs else {"x"})
