"""Sparse matrix times dense matrix: one step of message passing."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR, selected
from mmgraph.ops.dispatch import resolve
from mmgraph.ops.spmm import cpu, reference
from mmgraph.ops.spmm.product import Product

__all__ = ["edge_dot", "spmm"]


def spmm(
    a: CSR,
    x: Tensor,
    *,
    rows: Tensor | None = None,
    values: Tensor | None = None,
    mask: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """``A x``: every row gathers its neighbours, weighs them and adds them up.

    ``y[i] = sum over the edges (i, j) of A of w_ij · x[j]``. Sums run in float32 (float64 for float64),
    whatever the type of ``x``. The result has the type of ``x``. Differentiable, twice, in ``x`` and in
    ``values``.

    Args:
        a: [R, C].
        x: [C, D], or [C, M, D]: M right-hand sides side by side, which cost one pass over the edges.
        rows: [B] integers: only these rows of the result, repeats allowed. The backward starts from these
            rows too.
        values: [E] weights in place of those of ``a``, in the order of ``a.indices`` (attention). Receives
            a gradient when it requires one.
        mask: [E] bool or floating point, multiplied into the weights: edge dropout without rebuilding the
            graph. Nothing is rescaled.
        impl: "auto", "reference", "cpu" or "triton".

    Returns:
        [R, D], or [B, D] with ``rows``; the middle dimension of ``x`` is kept.

    Raises:
        TypeError: rows are not whole numbers, or numbers not floating point.
        ValueError: sizes or devices do not fit, or a row lies outside A.
    """
    check_operand(a, x)
    name = resolve(impl, x)
    rows = None if rows is None else checks.rows(rows, a.shape[0], "rows", like=x)
    flat = x.flatten(1)
    a = _weighted(a, values, mask, x.dtype)
    if a.col_scale is not None:
        flat = flat * a.col_scale.to(x.dtype).unsqueeze(1)
    row_scale = a.row_scale
    if rows is None:
        out = torch.ops.mmgraph.spmm(*operand(a), flat, name)
    else:
        row_scale = None if row_scale is None else row_scale[rows]
        if a.values is not None and a.values.requires_grad:
            out = torch.ops.mmgraph.spmm(*operand(a.select(rows)[0]), flat, name)
        else:
            out = torch.ops.mmgraph.spmm_rows(*operand(a), rows, flat, name)
    if row_scale is not None:
        out = out * row_scale.to(x.dtype).unsqueeze(1)
    return out.reshape(out.shape[0], *x.shape[1:])


def edge_dot(a: CSR, left: Tensor, right: Tensor, *, impl: str = "auto") -> Tensor:
    """``out[e] = left[i] · right[j]`` for every edge e = (i, j) of ``a`` (SDDMM); its weights are not read.

    Args:
        a: [R, C].
        left: [R, D].
        right: [C, D].
        impl: as for :func:`spmm`.

    Returns:
        [E] in the order of ``a.indices``.

    Raises:
        ValueError: sizes do not fit.
    """
    checks.numbers(left, (a.shape[0], None), "left", like=a)
    checks.numbers(right, (a.shape[1], left.shape[1]), "right", like=a)
    return torch.ops.mmgraph.edge_dot(*pattern(a), left, right, resolve(impl, left))


# -- below: how a CSR becomes the tensors of an op -------------------------------------------------


class Pattern(NamedTuple):
    """Rows, columns, and the same of the transpose with the position in A of each of its edges."""

    indptr: Tensor
    indices: Tensor
    t_indptr: Tensor
    t_indices: Tensor
    t_order: Tensor | None  # None: no op may need it (the weights are symmetric, or none)


class Operand(NamedTuple):
    """A pattern and its weights. ``t_values`` may be None: then it is ``values[t_order]``."""

    indptr: Tensor
    indices: Tensor
    values: Tensor | None
    t_indptr: Tensor
    t_indices: Tensor
    t_values: Tensor | None
    t_order: Tensor | None


def check_operand(a: CSR, x: Tensor) -> None:
    """Raises TypeError or ValueError when ``a @ x`` has no meaning."""
    if not isinstance(a, CSR):
        raise TypeError(f"A must be a CSR, got {type(a).__name__}: CSR.from_edges makes one")
    checks.numbers(x, None, "x", like=a)
    if x.dim() < 2 or x.shape[0] != a.shape[1]:
        raise ValueError(f"A is {list(a.shape)}, so x must be [{a.shape[1]}, D], got {list(x.shape)}")


def pattern(a: CSR) -> Pattern:
    """The pattern of ``a`` and of its transpose."""
    return Pattern(a.indptr, a.indices, *a._transposed_pattern())


def operand(a: CSR) -> Operand:
    """``a`` as the tensors that the ops take; scales are the caller's."""
    if a.symmetric:
        return Operand(a.indptr, a.indices, a.values, a.indptr, a.indices, a.values, None)
    indptr, indices, order = a._transposed_pattern()
    if a.values is None:
        return Operand(a.indptr, a.indices, None, indptr, indices, None, None)
    if a.values.requires_grad:
        return Operand(a.indptr, a.indices, a.values, indptr, indices, None, order)
    return Operand(a.indptr, a.indices, a.values, indptr, indices, a.transpose().values, order)


def _weighted(a: CSR, values: Tensor | None, mask: Tensor | None, dtype: torch.dtype) -> CSR:
    """``a`` with ``values`` and ``mask`` put in."""
    if values is not None:
        a = a.with_values(checks.numbers(values, (a.num_edges,), "values", like=a))
    if mask is not None:
        mask = checks.numbers(mask, (a.num_edges,), "mask", like=a, bools=True)
    kept = a.values
    if mask is not None:
        kept = mask.to(dtype) if kept is None else kept * mask.to(kept.dtype)
    elif not (a.symmetric and kept is not None and kept.requires_grad):
        return a
    # what is learned is a number an edge and direction: the op must not take its transpose for the matrix itself
    return CSR(a.indptr, a.indices, kept, a.shape, False, a.row_scale, a.col_scale, a._pattern)


def backend(name: str) -> ModuleType:
    """The module of an implementation."""
    if name == "triton":
        from mmgraph.ops.spmm import triton

        return triton
    return {"reference": reference, "cpu": cpu}[name]


# -- the ops that torch knows ----------------------------------------------------------------------


@torch.library.custom_op("mmgraph::spmm", mutates_args=())
def _spmm(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor | None,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_values: Tensor | None,
    t_order: Tensor | None,
    x: Tensor,
    impl: str,
) -> Tensor:
    return backend(impl).matmul(indptr, indices, values, x)


@_spmm.register_fake
def _(indptr, indices, values, t_indptr, t_indices, t_values, t_order, x, impl):
    return x.new_empty(indptr.shape[0] - 1, x.shape[1])


def _spmm_setup(ctx, inputs, output):
    indptr, indices, values, t_indptr, t_indices, t_values, t_order, x, impl = inputs
    ctx.impl = impl
    needs_x = values is not None and ctx.needs_input_grad[2]
    ctx.save_for_backward(indptr, indices, values, t_indptr, t_indices, t_values, t_order, x if needs_x else None)


def _spmm_backward(ctx, grad):
    indptr, indices, values, t_indptr, t_indices, t_values, t_order, x = ctx.saved_tensors
    grad = grad.contiguous()
    grad_x = grad_values = None
    if ctx.needs_input_grad[7]:
        if values is not None and t_values is None:
            t_values = values.index_select(0, t_order)
        # What undoes t_order is needed only when a gradient flows through the gradient.
        order = None if t_order is None else torch.argsort(t_order) if torch.is_grad_enabled() else t_order
        back = None if values is not None and values.requires_grad else values
        grad_x = torch.ops.mmgraph.spmm(t_indptr, t_indices, t_values, indptr, indices, back, order, grad, ctx.impl)
    if values is not None and ctx.needs_input_grad[2]:
        grad_values = torch.ops.mmgraph.edge_dot(indptr, indices, t_indptr, t_indices, t_order, grad, x, ctx.impl).to(
            values.dtype
        )
    return None, None, grad_values, None, None, None, None, grad_x, None


_spmm.register_autograd(_spmm_backward, setup_context=_spmm_setup)


@torch.library.custom_op("mmgraph::edge_dot", mutates_args=())
def _edge_dot(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_order: Tensor | None,
    left: Tensor,
    right: Tensor,
    impl: str,
) -> Tensor:
    return backend(impl).edge_dot(indptr, indices, left, right)


@_edge_dot.register_fake
def _(indptr, indices, t_indptr, t_indices, t_order, left, right, impl):
    return left.new_empty(indices.shape[0])


def _edge_dot_setup(ctx, inputs, output):
    *tensors, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _edge_dot_backward(ctx, grad):
    indptr, indices, t_indptr, t_indices, t_order, left, right = ctx.saved_tensors
    grad_left = grad_right = None
    spmm = torch.ops.mmgraph.spmm
    if ctx.needs_input_grad[5]:
        grad_left = spmm(indptr, indices, grad, t_indptr, t_indices, None, t_order, right, ctx.impl)
    if ctx.needs_input_grad[6]:
        order = torch.argsort(t_order) if torch.is_grad_enabled() else t_order
        grad_right = spmm(t_indptr, t_indices, grad[t_order], indptr, indices, None, order, left, ctx.impl)
    return None, None, None, None, None, grad_left, grad_right, None


_edge_dot.register_autograd(_edge_dot_backward, setup_context=_edge_dot_setup)


@torch.library.custom_op("mmgraph::spmm_rows", mutates_args=())
def _spmm_rows(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor | None,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_values: Tensor | None,
    t_order: Tensor | None,
    rows: Tensor,
    x: Tensor,
    impl: str,
) -> Tensor:
    return times_rows(indptr, indices, values, rows, x, impl)


@_spmm_rows.register_fake
def _(indptr, indices, values, t_indptr, t_indices, t_values, t_order, rows, x, impl):
    return x.new_empty(rows.shape[0], x.shape[1])


def _spmm_rows_setup(ctx, inputs, output):
    *tensors, _, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _spmm_rows_backward(ctx, grad):
    grad_x = torch.ops.mmgraph.spmm_rows_adjoint(*ctx.saved_tensors, grad.contiguous(), ctx.impl)
    return (None,) * 8 + (grad_x, None)


_spmm_rows.register_autograd(_spmm_rows_backward, setup_context=_spmm_rows_setup)


@torch.library.custom_op("mmgraph::spmm_rows_adjoint", mutates_args=())
def _spmm_rows_adjoint(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor | None,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_values: Tensor | None,
    t_order: Tensor | None,
    rows: Tensor,
    grad: Tensor,
    impl: str,
) -> Tensor:
    batch = Batch.of(rows, indptr.numel() - 1)
    a = Operand(indptr, indices, values, t_indptr, t_indices, t_values, t_order)
    return rows_adjoint(a, batch, batch.pack(grad), impl)


@_spmm_rows_adjoint.register_fake
def _(indptr, indices, values, t_indptr, t_indices, t_values, t_order, rows, grad, impl):
    return grad.new_empty(t_indptr.shape[0] - 1, grad.shape[1])


def _spmm_rows_adjoint_backward(ctx, grad):
    grad_x = torch.ops.mmgraph.spmm_rows(*ctx.saved_tensors, grad.contiguous(), ctx.impl)
    return (None,) * 8 + (grad_x, None)


_spmm_rows_adjoint.register_autograd(_spmm_rows_adjoint_backward, setup_context=_spmm_rows_setup)


def times_rows(indptr: Tensor, indices: Tensor, values: Tensor | None, rows: Tensor, x: Tensor, impl: str) -> Tensor:
    """``A[rows] x``, [B, D]."""
    if impl == "cpu":
        return cpu.result(Product(indptr, indices, values, x, rows))
    part, edges = selected(indptr, rows)
    return backend(impl).matmul(part, indices[edges], None if values is None else values[edges], x)


class Batch(NamedTuple):
    """Some rows, repeats allowed, of a matrix [N, D] that is zero elsewhere: how they are packed."""

    rows: Tensor
    """[P] int64 ascending, each once."""
    place: Tensor
    """[B] where each of the rows asked for lies among them."""
    slot: Tensor
    """[N] int32, where each row of the matrix lies among them, -1 for the others."""

    @classmethod
    def of(cls, rows: Tensor, num_rows: int) -> Batch:
        """Packs ``rows`` [B]."""
        once, place = torch.unique(rows, return_inverse=True)
        slot = torch.full((num_rows,), -1, dtype=torch.int32, device=rows.device)
        slot[once] = torch.arange(len(once), dtype=torch.int32, device=rows.device)
        return cls(once, place, slot)

    def pack(self, value: Tensor) -> Tensor:
        """[P, D] the rows of ``value`` [B, D], repeats added up."""
        return value.new_zeros(len(self.rows), value.shape[1]).index_add_(0, self.place, value)


def rows_adjoint(
    a: Operand,
    batch: Batch,
    packed: Tensor,
    impl: str,
    plus: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """``A[rows]ᵀ g``, [C, D] of type ``dtype``, with ``packed`` [P, D] the g of a batch's rows; and ``plus`` [P, D] of
    that type added to its rows.

    Runs over Aᵀ: the packed rows mostly stay in cache, and no scatter is needed.
    """
    t_values = a.t_values
    if a.values is not None and t_values is None:
        assert a.t_order is not None
        t_values = a.values.index_select(0, a.t_order)
    back = Operand(a.t_indptr, a.t_indices, t_values, a.indptr, a.indices, a.values, None)
    if impl == "cpu":
        return cpu.result(Product(*back[:3], packed, None, batch.slot, plus, batch.slot, dtype))
    whole = packed.new_zeros(a.indptr.numel() - 1, packed.shape[1]).index_copy_(0, batch.rows, packed)
    return times_plus(back, whole, impl, batch, plus, dtype)


def times_plus(
    a: Operand, x: Tensor, impl: str, batch: Batch, plus: Tensor | None, dtype: torch.dtype | None
) -> Tensor:
    """``A x`` of type ``dtype``, with ``plus`` [P, D] of that type added to the rows of a batch."""
    if impl == "cpu":
        return cpu.result(Product(*a[:3], x, plus=plus, plus_slot=batch.slot, dtype=dtype))
    out = backend(impl).matmul(a.indptr, a.indices, a.values, x).to(dtype or x.dtype)
    return out if plus is None else out.index_add_(0, batch.rows, plus)
