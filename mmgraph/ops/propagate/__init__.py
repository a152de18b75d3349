"""K layers of linear propagation and their weighted sum, for the rows that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.dispatch import resolve
from mmgraph.ops.propagate import reference
from mmgraph.ops.spmm import Batch, Operand, backend, check_operand, operand, rows_adjoint, times_plus, times_rows

__all__ = ["propagate"]

# Rows that hold more of the edges than this are taken from the full product: gathering their edges would
# cost more than it saves (measured on tiktok and gowalla, 2 threads: the two meet near 0.4).
_DENSE_SHARE = 0.4


@overload
def propagate(
    a: CSR,
    x: Tensor,
    num_layers: int,
    *,
    weights: Tensor | Sequence[float] | None = None,
    rows: Tensor | None = None,
    with_input: Literal[False] = False,
    mask: Tensor | None = None,
    storage: torch.dtype | None = None,
    impl: str = "auto",
) -> Tensor: ...


@overload
def propagate(
    a: CSR,
    x: Tensor,
    num_layers: int,
    *,
    weights: Tensor | Sequence[float] | None = None,
    rows: Tensor,
    with_input: Literal[True],
    mask: Tensor | None = None,
    storage: torch.dtype | None = None,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def propagate(
    a: CSR,
    x: Tensor,
    num_layers: int,
    *,
    weights: Tensor | Sequence[float] | None = None,
    rows: Tensor | None = None,
    with_input: bool = False,
    mask: Tensor | None = None,
    storage: torch.dtype | None = None,
    impl: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``y = sum over k = 0..K of weights[k] · Aᵏ x``, or some of its rows; exact.

    LightGCN's propagation (He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126) with the mean of
    the layers by default. The map is linear, so backward keeps no layer: it runs the same recurrence on the
    gradient in Horner form, ``Aᵀ(Aᵀ(Aᵀ w₃g + w₂g) + w₁g) + w₀g``. With ``rows`` the last layer is computed
    for these rows only, and the first product of the backward starts from them. Differentiable in ``x`` and
    in ``weights``.

    Args:
        a: [N, N].
        x: [N, D], or [N, M, D]: several right-hand sides side by side (modalities that share a graph).
        num_layers: K, 0 or more.
        weights: K + 1 numbers, or a tensor [K + 1] that may require a gradient; the mean by default. ``[0,
            …, 0, 1]`` is the last layer alone.
        rows: [B] integers: only these rows of the result, repeats allowed.
        with_input: also return ``x[rows]``. A look-up of one's own gives the same, but its gradient is a second table
            of the size of ``x`` to fill and to add; here it joins that of the layers.
        mask: [E] as in :func:`mmgraph.ops.spmm`, one mask for all layers.
        storage: the type that layers are kept in between products, e.g. torch.bfloat16: half the memory
            traffic, results off by about 1e-2. Sums stay in float32 and the result has the type of ``x``.
            None is exact, except under ``torch.autocast``, where it is autocast's type.
        impl: as in :func:`mmgraph.ops.spmm`.

    Returns:
        [N, D], or [B, D] with ``rows``; the middle dimension of ``x`` is kept. With ``with_input`` two of them.

    Raises:
        TypeError: rows are not whole numbers, or numbers not floating point.
        ValueError: sizes or devices do not fit, a row lies outside A, ``with_input`` without ``rows``, or the weights
            of ``a`` require a gradient (use :func:`mmgraph.ops.spmm`, layer by layer, for attention).
    """
    check_operand(a, x)
    if a.shape[0] != a.shape[1]:
        raise ValueError(f"propagation needs a square matrix, got {list(a.shape)}")
    if with_input and rows is None:
        raise ValueError("with_input returns x[rows]: it needs rows")
    num_layers = checks.count(num_layers, "num_layers", 0)
    rows = None if rows is None else checks.rows(rows, a.shape[0], "rows", like=x)
    if storage is not None and not (isinstance(storage, torch.dtype) and storage.is_floating_point):
        raise TypeError(f"storage must be a floating point torch.dtype, got {storage!r}")
    if any(part is not None and part.requires_grad for part in (a.values, a.row_scale, a.col_scale)):
        raise ValueError("propagate gives no gradient to the weights of edges: call spmm layer by layer")
    if weights is None:
        weights = [1.0 / (num_layers + 1)] * (num_layers + 1)
    if len(weights) != num_layers + 1:
        raise ValueError(f"{num_layers} layers need {num_layers + 1} weights, got {len(weights)}")
    if isinstance(weights, Tensor):
        weights = checks.numbers(weights, (num_layers + 1,), "weights", like=x)
    elif not all(isinstance(weight, (int, float)) for weight in weights):
        raise TypeError(f"weights must be numbers or a tensor, got {weights!r}")
    name = resolve(impl, x)
    if storage is None and torch.is_autocast_enabled(x.device.type):
        storage = torch.get_autocast_dtype(x.device.type)
    if mask is not None:
        mask = checks.numbers(mask, (a.num_edges,), "mask", like=a, bools=True)
        full = a.weights()
        a = a.with_values(mask.to(x.dtype) if full is None else full * mask.to(full.dtype), False)
    if name == "reference":
        out = reference.propagate(a, x, weights, rows)
        return (out, x[rows]) if with_input else out
    flat = x.flatten(1)
    if rows is not None and a.degree()[rows].sum() > _DENSE_SHARE * a.num_edges:
        whole = propagate(a, x, num_layers, weights=weights, storage=storage, impl=impl).index_select(0, rows)
        return (whole, x.index_select(0, rows)) if with_input else whole
    if not isinstance(weights, Tensor):
        weights = torch.tensor(weights, dtype=torch.float64)
    given = (*operand(a), a.row_scale, a.col_scale, flat, weights, rows, with_input, name, storage)
    out, own = (part.reshape(-1, *x.shape[1:]) for part in torch.ops.mmgraph.propagate(*given))
    return (out, own) if with_input else out


def _times(a: Operand, row_scale: Tensor | None, col_scale: Tensor | None, x: Tensor, impl: str) -> Tensor:
    if col_scale is not None:
        x = x * col_scale.to(x.dtype).unsqueeze(1)
    out = backend(impl).matmul(a.indptr, a.indices, a.values, x)
    return out if row_scale is None else out.mul_(row_scale.to(x.dtype).unsqueeze(1))


def _times_rows(
    a: Operand, row_scale: Tensor | None, col_scale: Tensor | None, rows: Tensor, x: Tensor, impl: str
) -> Tensor:
    if col_scale is not None:
        x = x * col_scale.to(x.dtype).unsqueeze(1)
    out = times_rows(a.indptr, a.indices, a.values, rows, x, impl)
    return out if row_scale is None else out.mul_(row_scale[rows].to(x.dtype).unsqueeze(1))


@torch.library.custom_op("mmgraph::propagate", mutates_args=())
def _propagate(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor | None,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_values: Tensor | None,
    t_order: Tensor | None,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    x: Tensor,
    weights: Tensor,
    rows: Tensor | None,
    with_input: bool,
    impl: str,
    storage: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    a = Operand(indptr, indices, values, t_indptr, t_indices, t_values, t_order)
    weight = weights.tolist()
    last = len(weight) - 1
    own = x if rows is None else x.index_select(0, rows)
    out = own * weight[0]
    layer = x if storage is None else x.to(storage)
    for k in range(1, last + 1):
        if k == last and rows is not None:
            out.add_(_times_rows(a, row_scale, col_scale, rows, layer, impl), alpha=weight[k])
            break
        layer = _times(a, row_scale, col_scale, layer, impl)
        if weight[k]:
            out.add_(layer if rows is None else layer.index_select(0, rows), alpha=weight[k])
    return out, own if with_input else x.new_empty(0, x.shape[1])


@_propagate.register_fake
def _(*given):
    *_, x, _weights, rows, with_input, _impl, _storage = given
    count = x.shape[0] if rows is None else rows.shape[0]
    return x.new_empty(count, x.shape[1]), x.new_empty(count if with_input else 0, x.shape[1])


def _propagate_setup(ctx, inputs, output):
    *tensors, x, weights, rows, ctx.with_input, ctx.impl, ctx.storage = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, x if ctx.needs_input_grad[10] else None, weights, rows)


def _propagate_backward(ctx, grad, own):
    *tensors, x, weights, rows = ctx.saved_tensors
    if grad is None and own is None:
        return (None,) * 15
    grad = torch.zeros_like(own) if grad is None else grad.contiguous()
    own = own.contiguous() if own is not None and ctx.with_input else None
    grad_x = grad_weights = None
    if ctx.needs_input_grad[9]:
        grad_x = torch.ops.mmgraph.propagate_adjoint(*tensors, grad, own, weights, rows, ctx.impl, ctx.storage)
    if ctx.needs_input_grad[10]:
        grad_weights = torch.ops.mmgraph.propagate_dots(*tensors, x, grad, weights, rows, ctx.impl, ctx.storage)
    return (None,) * 9 + (grad_x, grad_weights, None, None, None, None)


_propagate.register_autograd(_propagate_backward, setup_context=_propagate_setup)


@torch.library.custom_op("mmgraph::propagate_adjoint", mutates_args=())
def _propagate_adjoint(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor | None,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_values: Tensor | None,
    t_order: Tensor | None,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    grad: Tensor,
    own: Tensor | None,
    weights: Tensor,
    rows: Tensor | None,
    impl: str,
    storage: torch.dtype | None,
) -> Tensor:
    """Horner form on the gradient. Only ``rows`` of it are not zero, which the first product uses."""
    if t_values is None and values is not None:
        assert t_order is not None
        t_values = values[t_order]
    a = Operand(indptr, indices, values, t_indptr, t_indices, t_values, t_order)
    back = Operand(t_indptr, t_indices, t_values, indptr, indices, values, None)
    weight = weights.tolist()
    last = len(weight) - 1
    if rows is None:
        out = (grad * weight[last]).to(storage or grad.dtype)
        for k in range(last - 1, -1, -1):
            out = _times(back, col_scale, row_scale, out, impl)
            if weight[k]:
                out.add_(grad, alpha=weight[k])
        return out.to(grad.dtype)
    batch = Batch.of(rows, t_indptr.numel() - 1)
    packed = batch.pack(grad)
    lasting = batch.pack(own) if own is not None else None
    if last == 0:
        out = packed * weight[0] if lasting is None else lasting.add_(packed, alpha=weight[0])
        return grad.new_zeros(len(batch.slot), grad.shape[1]).index_copy_(0, batch.rows, out)
    out = (packed * weight[last]).to(storage or grad.dtype)
    if row_scale is not None:
        out.mul_(row_scale[batch.rows].to(out.dtype).unsqueeze(1))
    for k in range(last - 1, -1, -1):
        plus = packed * weight[k] if k or lasting is None else lasting.add_(packed, alpha=weight[0])
        plus = plus.to(grad.dtype if k == 0 else out.dtype)
        # without scales the product adds these rows on its way
        joined = plus if col_scale is None and row_scale is None else None
        if k == last - 1:
            out = rows_adjoint(a, batch, out, impl, joined, plus.dtype)
        else:
            if row_scale is not None:
                out.mul_(row_scale.to(out.dtype).unsqueeze(1))
            out = times_plus(back, out, impl, batch, joined, plus.dtype)
        if col_scale is not None:
            out.mul_(col_scale.to(out.dtype).unsqueeze(1))
        if joined is None:
            out.index_add_(0, batch.rows, plus)
    return out


@_propagate_adjoint.register_fake
def _(*given):
    t_indptr, grad = given[3], given[9]
    return grad.new_empty(t_indptr.shape[0] - 1, grad.shape[1])


@torch.library.custom_op("mmgraph::propagate_dots", mutates_args=())
def _propagate_dots(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor | None,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_values: Tensor | None,
    t_order: Tensor | None,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    x: Tensor,
    grad: Tensor,
    weights: Tensor,
    rows: Tensor | None,
    impl: str,
    storage: torch.dtype | None,
) -> Tensor:
    """``out[k] = <grad, (Aᵏ x)[rows]>``: the gradient of the layers' weights. The layers are computed
    again."""
    a = Operand(indptr, indices, values, t_indptr, t_indices, t_values, t_order)
    last = weights.numel() - 1
    out, layer = [], x if storage is None else x.to(storage)
    for k in range(last + 1):
        if k == last and k and rows is not None:
            part = _times_rows(a, row_scale, col_scale, rows, layer, impl)
        else:
            layer = layer if k == 0 else _times(a, row_scale, col_scale, layer, impl)
            part = layer if rows is None else layer.index_select(0, rows)
        out.append((part.to(torch.promote_types(x.dtype, torch.float32)) * grad).sum())
    return torch.stack(out).to(weights.dtype)


@_propagate_dots.register_fake
def _(*given):
    *_, weights, _rows, _impl, _storage = given
    return torch.empty_like(weights)
