"""``kernel.c`` called: SpMM and SDDMM on CPU for float32 and bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.compiled import KINDS, call, library


def serves(indices: Tensor, x: Tensor) -> bool:
    """Whether these types can be handed to the kernels, and the kernels are there."""
    return x.dtype in KINDS and indices.dtype == torch.int32 and library() is not None


def matmul(
    indptr: Tensor,
    indices: Tensor,
    values: Tensor | None,
    x: Tensor,
    rows: Tensor | None = None,
    slot: Tensor | None = None,
    plus: Tensor | None = None,
    plus_slot: Tensor | None = None,
) -> Tensor:
    """``A x`` or some rows of it; the arguments of ``cpu.matmul``."""
    x, values = x.contiguous(), None if values is None else values.to(torch.float32).contiguous()
    rows = None if rows is None else rows.contiguous()
    out = x.new_empty(indptr.numel() - 1 if rows is None else rows.numel(), x.shape[1])
    pattern = (indptr.contiguous(), indices.contiguous(), values)
    arrays = (rows, *pattern, slot, x, plus_slot, plus, out)
    call("spmm", x.dtype, out.shape[0], *arrays, x.shape[1], indices.numel())
    return out


def edge_dot(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``out[e] = left[row of e] · right[indices[e]]``, [E]."""
    out = left.new_empty(indices.numel())
    pattern = (indptr.contiguous(), indices.contiguous())
    left, right = left.contiguous(), right.contiguous()
    call("edge_dot", left.dtype, indptr.numel() - 1, *pattern, left, right, out, left.shape[1], indices.numel())
    return out
