"""``AᵀA`` of a sparse matrix: how often two videos have a user in common. Sparse, in blocks of planned memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR

__all__ = ["dense_gram", "gram", "gram_blocks"]

_BLOCK_BYTES = 256 << 20
_ENTRY = 32  # bytes of one sum while a block is made: in scipy's result, sorted, and as a CSR


def gram(a: CSR, rows: slice | None = None) -> CSR:
    """``AᵀA`` [C, C], or some of its rows, sparse: ``out[i, j] = Σ_r a_ri a_rj``, the diagonal included.

    Costs the sum over the rows r of A of (edges of r)², not C². float32 (counts are exact up to 2²⁴), computed on CPU,
    put on the device of A. Not differentiable.

    Args:
        a: [R, C]; duplicate edges add up, see :meth:`CSR.distinct`.
        rows: a range of the C rows; all by default. For a large matrix take :func:`gram_blocks`.

    Returns:
        [C, C], or [rows, C].
    """
    checks.matrix(a, "a")
    left, right = _scipy(a.transpose()), _scipy(a)
    start, stop, _ = (rows or slice(None)).indices(a.shape[1])
    return _csr(left[start:stop] @ right, a.device)


def gram_blocks(a: CSR, memory: int = _BLOCK_BYTES, rows: int | None = None) -> Iterator[tuple[slice, CSR]]:
    """:func:`gram` block by block: pairs of a range of rows and these rows [b, C].

    Args:
        a: [R, C].
        memory: bytes that a block may take while it is made. A row that needs more comes alone.
        rows: the most rows of a block; any number by default.
    """
    memory, most = checks.count(memory, "memory"), checks.count(a.shape[1] if rows is None else rows, "rows", 0)
    left, right = _scipy(a.transpose()), _scipy(a)
    bound = torch.from_numpy(_entries(left, right)).cumsum(0) * _ENTRY
    start, cols = 0, a.shape[1]
    while start < cols:
        before = int(bound[start - 1]) if start else 0
        stop = min(int(torch.searchsorted(bound, before + memory, right=True)), start + most)
        stop = max(stop, start + 1)
        yield slice(start, stop), _csr(left[start:stop] @ right, a.device)
        start = stop


def dense_gram(a: CSR, out: Tensor | None = None, memory: int = _BLOCK_BYTES) -> Tensor:
    """``AᵀA`` dense, [C, C] float32: one matrix and a block are all that is held.

    Args:
        a: [R, C].
        out: [C, C] to fill; a new one by default.
        memory: as for :func:`gram_blocks`.
    """
    cols = a.shape[1]
    if out is None:
        out = torch.empty(cols, cols, device=a.device)
    out = checks.numbers(out, (cols, cols), "out", like=a)
    for rows, block in gram_blocks(a, memory):
        part = out[rows].zero_()
        assert block.values is not None
        part[block.row_indices().long(), block.indices.long()] = block.values.to(out.dtype)
    return out


def _entries(left, right) -> np.ndarray:
    """[C] at most how many entries each row of ``left @ right`` has, and how many sums it takes."""
    degree = np.diff(right.indptr).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(degree[left.indices])])
    return np.minimum(sums[left.indptr[1:]] - sums[left.indptr[:-1]], right.shape[1])


def _scipy(a: CSR):
    import scipy.sparse as sp

    weights = a.weights()
    values = torch.ones(a.num_edges) if weights is None else weights.detach().float().cpu()
    index = a.indices.cpu().numpy()
    # scipy takes both index arrays of one type, and 32 bits where they do
    indptr = a.indptr.cpu().numpy()
    if a.num_edges < 2**31 and index.dtype == np.int32:
        indptr = indptr.astype(np.int32)
    return sp.csr_matrix((values.numpy(), index, indptr), shape=a.shape)


def _csr(matrix, device: torch.device) -> CSR:
    matrix.sort_indices()
    parts = (torch.from_numpy(part).to(device) for part in (matrix.indptr, matrix.indices, matrix.data))
    return CSR(*parts, shape=matrix.shape)
