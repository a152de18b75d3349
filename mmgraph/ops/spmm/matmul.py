"""``A x`` of an operand in the forms that a propagation needs: all rows, some, or from and onto those of a batch."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops.csr import selected
from mmgraph.ops.operand import Operand
from mmgraph.ops.spmm import cpu, reference
from mmgraph.ops.spmm.product import Product

# Edges up to which a GPU has the whole product before the host, which has to wait for it, knows those of some rows.
_SOON = 1 << 22


def whole_is_sooner(num_edges: int, rows: Tensor) -> bool:
    """Whether rows are taken from the whole product: on a GPU, where a look at their degrees stops the queue."""
    return not rows.is_cpu and num_edges <= _SOON


def backend(name: str) -> ModuleType:
    """The module of an implementation."""
    if name == "triton":
        from mmgraph.ops.spmm import triton

        return triton
    return {"reference": reference, "cpu": cpu}[name]


def times(a: Operand, x: Tensor, impl: str, rows: Tensor | None = None) -> Tensor:
    """``A x`` [R, D], or ``A[rows] x`` [B, D]."""
    if a.col_scale is not None:
        x = x * a.col_scale.to(x.dtype).unsqueeze(1)
    if rows is None:
        out = backend(impl).matmul(a.indptr, a.indices, a.values, x)
    elif impl == "cpu":
        out = cpu.result(Product(a.indptr, a.indices, a.values, x, rows))
    else:
        part, edges = selected(a.indptr, rows)
        out = backend(impl).matmul(part, a.indices[edges], None if a.values is None else a.values[edges], x)
    if a.row_scale is not None:
        scale = a.row_scale if rows is None else a.row_scale[rows]
        out.mul_(scale.to(x.dtype).unsqueeze(1))
    return out


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


def times_batch(
    a: Operand,
    x: Tensor,
    impl: str,
    batch: Batch,
    *,
    packed: bool,
    plus: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """``A x`` [R, D] of type ``dtype``, with ``plus`` [P, D] of that type added to the rows of a batch.

    ``packed``: x [P, D] holds only the rows of the batch, the others are zero. They mostly stay in cache then, and no
    scatter is needed.
    """
    dtype = dtype or x.dtype
    if a.col_scale is not None:
        scale = a.col_scale[batch.rows] if packed else a.col_scale
        x = x * scale.to(x.dtype).unsqueeze(1)
    joined = plus if a.row_scale is None else None  # without a scale the product adds these rows on its way
    if impl == "cpu":
        slot = batch.slot if packed else None
        out = cpu.result(Product(a.indptr, a.indices, a.values, x, None, slot, joined, batch.slot, dtype))
    else:
        if packed:
            x = x.new_zeros(a.shape[1], x.shape[1]).index_copy_(0, batch.rows, x)
        out = backend(impl).matmul(a.indptr, a.indices, a.values, x).to(dtype)
        if joined is not None:
            out.index_add_(0, batch.rows, joined)
    if a.row_scale is not None:
        out.mul_(a.row_scale.to(out.dtype).unsqueeze(1))
        if plus is not None:
            out.index_add_(0, batch.rows, plus)
    return out
