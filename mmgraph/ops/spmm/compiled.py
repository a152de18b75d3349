"""``kernel.c`` called: SpMM and SDDMM on CPU for float32 and bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.compiled import KINDS, call, library
from mmgraph.ops.spmm.product import Product

_RESULTS = {torch.float32: {torch.float32}, torch.bfloat16: {torch.bfloat16, torch.float32}}


def serves(indices: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether these types can be handed to the kernels, and the kernels are there."""
    known = (dtype or x.dtype) in _RESULTS.get(x.dtype, ())
    return known and indices.dtype == torch.int32 and x.device.type == "cpu" and library() is not None


def matmul(product: Product) -> Tensor:
    """The product, if it is one that is served."""
    indptr, indices, values, x, rows, slot, plus, plus_slot, dtype = product
    x, values = x.contiguous(), None if values is None else values.to(torch.float32).contiguous()
    rows = None if rows is None else rows.contiguous()
    out = x.new_empty(indptr.numel() - 1 if rows is None else rows.numel(), x.shape[1], dtype=dtype)
    pattern = (indptr.contiguous(), indices.contiguous(), values)
    arrays = (rows, *pattern, slot, x, plus_slot, plus, out)
    call(f"spmm_to_{KINDS[out.dtype]}", x.dtype, out.shape[0], *arrays, x.shape[1], indices.numel())
    return out


def edge_dot(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``out[e] = left[row of e] · right[indices[e]]``, [E]."""
    out = left.new_empty(indices.numel())
    pattern = (indptr.contiguous(), indices.contiguous())
    left, right = left.contiguous(), right.contiguous()
    call("edge_dot", left.dtype, indptr.numel() - 1, *pattern, left, right, out, left.shape[1], indices.numel())
    return out
