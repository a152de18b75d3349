"""SpMM on CPU: by the compiled kernel where there is one, else over ``torch.nn.functional.embedding_bag``.

For embedding_bag a bag is a row, its members the neighbours. Either way the indices are streamed, a row of sums stays
in registers, and nothing of size E x D is ever written.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from mmgraph.ops.csr import selected
from mmgraph.ops.spmm import compiled
from mmgraph.ops.spmm.product import Product

_SMALL = 1 << 17  # edges below which one call is as good
_PANEL = 1 << 13  # edges gathered at a time in edge_dot: two panels of rows fit in the caches


def matmul(indptr: Tensor, indices: Tensor, values: Tensor | None, x: Tensor) -> Tensor:
    """``A x``; as ``reference.matmul``."""
    return result(Product(indptr, indices, values, x))


def result(product: Product) -> Tensor:
    """The result of a product."""
    if compiled.serves(product.indices, product.x, product.dtype):
        return compiled.matmul(product)
    return bags(product)


def bags(product: Product) -> Tensor:
    """:func:`result` over embedding_bag."""
    indptr, indices, values, x, rows, slot, plus, plus_slot, dtype = product
    if rows is not None:
        indptr, edges = selected(indptr, rows)
        indices, values = indices[edges], None if values is None else values[edges]
    if slot is not None:
        # all that is zero shares one row, which stays in cache
        place = slot.masked_fill(slot < 0, x.shape[0])
        x, indices = torch.cat([x, x.new_zeros(1, x.shape[1])]), place.index_select(0, indices)
    out = _sums(indptr, indices, values, x).to(dtype or x.dtype)
    if plus is not None and plus_slot is not None:
        place = plus_slot if rows is None else plus_slot[rows]
        at = (place >= 0).nonzero().flatten()
        out.index_add_(0, at, plus.index_select(0, place[at]))
    return out


def _sums(indptr: Tensor, indices: Tensor, values: Tensor | None, x: Tensor) -> Tensor:
    rows, edges = indptr.numel() - 1, indices.numel()
    if edges == 0 or x.numel() == 0:
        return x.new_zeros(rows, x.shape[1])
    if indices.dtype == torch.int32 and edges >= 2**31:
        indices = indices.long()
    # offsets and indices must have one type
    offsets = indptr.to(indices.dtype)
    x, values = x.contiguous(), None if values is None else values.to(x.dtype)
    cuts = _cuts(indptr, edges)
    if len(cuts) == 2:
        return _bag(offsets, indices, values, x)
    starts = indptr[cuts].tolist()
    parts = []
    for first, last, start, stop in zip(cuts, cuts[1:], starts, starts[1:]):
        weights = None if values is None else values[start:stop]
        parts.append(_bag(offsets[first : last + 1] - start, indices[start:stop], weights, x))
    return torch.cat(parts)


def _bag(offsets: Tensor, indices: Tensor, values: Tensor | None, x: Tensor) -> Tensor:
    if indices.numel() == 0:
        return x.new_zeros(offsets.numel() - 1, x.shape[1])
    return embedding_bag(indices, x, offsets, mode="sum", per_sample_weights=values, include_last_offset=True)


def _cuts(indptr: Tensor, edges: int) -> list[int]:
    """Where to cut the rows so that threads have equal work: [0, R] when they have it anyway.

    embedding_bag gives each thread as many rows, but on stacked users and videos one half of the rows may
    hold 65% of the edges. Within a run of rows that holds 1/T of all edges, degrees are more alike.
    """
    rows, threads = indptr.numel() - 1, torch.get_num_threads()
    if threads == 1 or edges < _SMALL:
        return [0, rows]
    bounds = torch.arange(threads + 1) * rows // threads
    if float(indptr[bounds].diff().max()) * threads < 1.08 * edges:
        return [0, rows]
    middle = torch.searchsorted(indptr, torch.arange(1, threads) * edges // threads).tolist()
    return sorted({0, *middle, rows})


def edge_dot(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """SDDMM; as ``reference.edge_dot``."""
    if compiled.serves(indices, left) and right.dtype == left.dtype:
        return compiled.edge_dot(indptr, indices, left, right)
    return panel_dots(indptr, indices, left, right)


def panel_dots(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """:func:`edge_dot` in panels of edges, so that the gathered rows stay in cache."""
    row = torch.repeat_interleave(torch.arange(indptr.numel() - 1, dtype=indices.dtype), indptr[1:] - indptr[:-1])
    wide = torch.promote_types(left.dtype, torch.float32)
    out = left.new_empty(indices.numel())
    for start in range(0, indices.numel(), _PANEL):
        part = slice(start, start + _PANEL)
        product = left.index_select(0, row[part]).to(wide) * right.index_select(0, indices[part]).to(wide)
        out[part] = product.sum(1)
    return out
