"""The products as ops that torch knows. Their operands come without scales."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.library import Op
from mmgraph.ops.operand import Operand
from mmgraph.ops.spmm.matmul import Batch, backend, times, times_batch


@Op
def spmm_op(a: Operand, x: Tensor, impl: str) -> Tensor:
    """``A x``, [R, D]."""
    return backend(impl).matmul(a.indptr, a.indices, a.values, x)


@Op
def edge_dot_op(a: Operand, left: Tensor, right: Tensor, impl: str) -> Tensor:
    """``left[i] · right[j]`` of every edge (i, j), [E]."""
    return backend(impl).edge_dot(a.indptr, a.indices, left, right)


@Op
def spmm_rows_op(a: Operand, rows: Tensor, x: Tensor, impl: str) -> Tensor:
    """``A[rows] x``, [B, D]."""
    return times(a, x, impl, rows)


@Op
def spmm_rows_adjoint_op(a: Operand, rows: Tensor, grad: Tensor, impl: str) -> Tensor:
    """``A[rows]ᵀ grad``, [C, D]."""
    batch = Batch.of(rows, a.shape[0])
    return times_batch(a.transposed(), batch.pack(grad), impl, batch, packed=True)


spmm_op.fake(lambda a, x, impl: x.new_empty(a.shape[0], x.shape[1]))
edge_dot_op.fake(lambda a, left, right, impl: left.new_empty(a.indices.shape[0]))
spmm_rows_op.fake(lambda a, rows, x, impl: x.new_empty(rows.shape[0], x.shape[1]))
spmm_rows_adjoint_op.fake(lambda a, rows, grad, impl: grad.new_empty(a.shape[1], grad.shape[1]))


def _spmm_gradient(
    a: Operand, x: Tensor | None, impl: str, needs: frozenset[str], grad: Tensor
) -> dict[str, Tensor | None]:
    grad, out = grad.contiguous(), {}
    if "x" in needs:
        out["x"] = spmm_op(a.transposed(torch.is_grad_enabled()), grad, impl)
    if a.values is not None and "a.values" in needs:
        out["a.values"] = edge_dot_op(a._replace(values=None, t_values=None), grad, x, impl).to(a.values.dtype)
    return out


def _edge_dot_gradient(
    a: Operand, left: Tensor, right: Tensor, impl: str, needs: frozenset[str], grad: Tensor
) -> dict[str, Tensor | None]:
    weighted, out = a._replace(values=grad), {}
    if "left" in needs:
        out["left"] = spmm_op(weighted, right, impl)
    if "right" in needs:
        out["right"] = spmm_op(weighted.transposed(torch.is_grad_enabled()), left, impl)
    return out


spmm_op.gradient(_spmm_gradient, unread=lambda needs: set() if "a.values" in needs else {"x"})
edge_dot_op.gradient(_edge_dot_gradient)
spmm_rows_op.gradient(
    lambda a, rows, x, impl, needs, grad: {"x": spmm_rows_adjoint_op(a, rows, grad.contiguous(), impl)},
    unread=lambda needs: {"x"},
)
spmm_rows_adjoint_op.gradient(
    lambda a, rows, x, impl, needs, grad: {"grad": spmm_rows_op(a, rows, grad.contiguous(), impl)},
    unread=lambda needs: {"grad"},
)
