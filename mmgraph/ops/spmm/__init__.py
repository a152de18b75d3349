"""Sparse matrix times dense matrix: one step of message passing."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.dispatch import resolve
from mmgraph.ops.operand import Operand
from mmgraph.ops.spmm.matmul import whole_is_sooner
from mmgraph.ops.spmm.op import edge_dot_op, spmm_op, spmm_rows_op

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
    if rows is not None and whole_is_sooner(a.num_edges, rows):
        return spmm(a, x, values=values, mask=mask, impl=impl).index_select(0, rows)
    flat = x.flatten(1)
    a = _weighted(a, values, mask, x.dtype)
    # scales stand outside the op: a learned matrix passes gradients through them
    if a.col_scale is not None:
        flat = flat * a.col_scale.to(x.dtype).unsqueeze(1)
    plain = a.unscaled()
    if rows is None:
        out = spmm_op(Operand.of(plain), flat, name)
    elif a.values is not None and a.values.requires_grad:
        out = spmm_op(Operand.of(plain.select(rows)[0]), flat, name)
    else:
        out = spmm_rows_op(Operand.of(plain), rows, flat, name)
    if a.row_scale is not None:
        scale = a.row_scale if rows is None else a.row_scale[rows]
        out = out * scale.to(x.dtype).unsqueeze(1)
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
    checks.numbers(right, (a.shape[1], left.shape[1]), "right", like=a, beside="left")
    return edge_dot_op(Operand.pattern(a), left, right, resolve(impl, left))


def check_operand(a: CSR, x: Tensor) -> None:
    """Raises TypeError or ValueError when ``a @ x`` has no meaning."""
    if not isinstance(a, CSR):
        raise TypeError(f"A must be a CSR, got {type(a).__name__}: CSR.from_edges makes one")
    checks.numbers(x, None, "x", like=a)
    if x.dim() < 2 or x.shape[0] != a.shape[1]:
        raise ValueError(f"A is {list(a.shape)}, so x must be [{a.shape[1]}, D], got {list(x.shape)}")


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
