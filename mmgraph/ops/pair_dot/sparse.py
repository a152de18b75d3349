"""The same as products with the sparse matrix [B, n] of N entries a row: nothing of size B x N x D is formed."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.csr import offsets
from mmgraph.ops.spmm.matmul import backend


def dots(left: Tensor, right: Tensor, places: Tensor, impl: str) -> Tensor:
    """As ``reference.dots``."""
    return backend(impl).edge_dot(*_pattern(places, len(right)), left, right).view(places.shape)


def sums(weight: Tensor, right: Tensor, places: Tensor, impl: str) -> Tensor:
    """As ``reference.sums``."""
    return backend(impl).matmul(*_pattern(places, len(right)), weight.flatten(), right)


def spread(weight: Tensor, left: Tensor, places: Tensor, rows: int, impl: str) -> Tensor:
    """As ``reference.spread``; one thread adds up a row, in the order of b."""
    by_column = _transposed if impl == "triton" else _counted
    return backend(impl).matmul(*by_column(weight, places, rows), left)


def _pattern(places: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """indptr [B + 1] and indices [B N]."""
    rows, width = places.shape
    indptr = torch.arange(rows + 1, device=places.device) * width
    return indptr, places.flatten().to(torch.int32 if columns < 2**31 else torch.int64)


def _transposed(weight: Tensor, places: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """indptr [columns + 1], indices and weights of the transpose, by a stable sort."""
    column, order = torch.sort(_pattern(places, columns)[1], stable=True)
    row = torch.div(order, max(places.shape[1], 1), rounding_mode="floor")
    return offsets(column, columns), row.to(torch.int32), weight.flatten()[order]


def _counted(weight: Tensor, places: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same on CPU, by counting: a tenth of the time of a sort."""
    import scipy.sparse as sp

    indptr, indices = _pattern(places, columns)
    # numpy has no 16 bits of this kind; the sums are made in float32 anyway
    values = weight.flatten() if weight.dtype is torch.float64 else weight.flatten().float()
    parts = (values.numpy(), indices.numpy(), indptr.numpy())
    out = sp.csr_matrix(parts, shape=(len(places), columns)).tocsc()
    return torch.from_numpy(out.indptr).long(), torch.from_numpy(out.indices), torch.from_numpy(out.data)
