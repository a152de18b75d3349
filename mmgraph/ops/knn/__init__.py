"""Exact cosine nearest neighbours over features, in blocks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.knn import reference
from mmgraph.ops.topk import topk

__all__ = ["Neighbours", "knn"]

_PADDED = 1 << 16  # as in topk: the longest list that is filled up


class Neighbours(NamedTuple):
    """The nearest rows of each query, nearest first."""

    index: Tensor
    """[Q, k] int64 rows; -1 where there are fewer than k."""
    score: Tensor
    """[Q, k] cosine similarity, higher is nearer; -inf there."""


def knn(
    x: Tensor,
    k: int,
    *,
    query: Tensor | None = None,
    present: Tensor | None = None,
    query_present: Tensor | None = None,
    include_self: bool = False,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    impl: str = "auto",
) -> Neighbours:
    """The k rows of ``x`` with the highest cosine to each query row; exact, ties to the lower row.

    Args:
        x: [V, D] features.
        k: how many neighbours.
        query: [Q, D], rows to look up (new videos); ``x`` itself by default.
        present: [V] bool, the rows of ``x`` that have the feature. An absent row neither has nor is a
            neighbour.
        query_present: [Q] bool, likewise for ``query``.
        include_self: whether a row may be its own neighbour (when ``query`` is None). MMRec's kNN graphs
            do.
        memory: bytes that one block of similarities may take, as in :func:`mmgraph.ops.topk`.
        dtype: the type of the products, e.g. torch.bfloat16: half the memory, cosines off by about 1e-2.
        impl: "auto" is "exact"; "faiss" uses a flat faiss index (pip install mmgraph[ann]), of use beyond
            200,000 rows; "reference" is the slow version.

    Raises:
        TypeError: features are not numbers, presence not bool, ``k`` not a whole number.
        ValueError: sizes or devices do not fit, or a feature is NaN or infinite.
    """
    for name, features in (("x", x), ("query", query)):
        if features is not None:
            _check_features(features, name, x)
    if x.dim() != 2 or (query is not None and (query.dim() != 2 or query.shape[1] != x.shape[1])):
        sizes = f"{list(x.shape)} and {None if query is None else list(query.shape)}"
        raise ValueError(f"x must be [V, D] and query [Q, D], got {sizes}")
    if impl not in ("auto", "exact", "faiss", "reference"):
        raise ValueError(f"knn has impl 'auto', 'exact', 'faiss' and 'reference', got {impl!r}")
    k = checks.count(k, "k", 0, max(len(x), _PADDED))
    memory = None if memory is None else checks.count(memory, "memory")
    if present is not None:
        present = checks.flags(present, len(x), "present", like=x)
    if query_present is not None:
        if query is None:
            raise ValueError("query_present says which rows of query have the feature: it needs query")
        query_present = checks.flags(query_present, len(query), "query_present", like=x)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating point torch.dtype, got {dtype!r}")
    itself = query is None and not include_self
    with torch.no_grad():
        base = _unit(x, present, "x")
        if query is None:
            target, query_present = base, present
        else:
            target = _unit(query, query_present, "query")
        if impl == "faiss":
            return _faiss(base, target, k, present, query_present, itself)
        if dtype is not None:
            base, target = base.to(dtype), target.to(dtype)
        if impl == "reference":
            mask = torch.zeros(target.shape[0], base.shape[0], dtype=torch.bool, device=x.device)
            if present is not None:
                mask |= ~present
            if itself:
                mask.fill_diagonal_(True)
            score, index = reference.knn(target.float(), base.float(), k, mask)
            short = max(k - base.shape[0], 0)
            score = torch.nn.functional.pad(score, (0, short), value=-torch.inf)
            index = torch.nn.functional.pad(index, (0, short), value=-1)
        else:
            score, index = _exact(target, base, k, present, itself, memory)
        score = score.float()
        if query_present is not None:
            score = score.masked_fill(~query_present.unsqueeze(1), -torch.inf)
            index = index.masked_fill(~query_present.unsqueeze(1), -1)
        return Neighbours(index, score)


def _exact(
    target: Tensor, base: Tensor, k: int, present: Tensor | None, itself: bool, memory: int | None
) -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(base), device=base.device) if present is None else present.nonzero().flatten()
    if not len(rows):
        empty = torch.full((len(target), k), -1, device=base.device)
        return base.new_full((len(target), k), -torch.inf), empty
    place = torch.arange(len(rows), device=base.device)
    own = CSR.from_edges(rows, place, (len(target), len(rows))) if itself else None
    near = base if present is None else base[rows]
    score, index = topk(target, near, k, seen=own, memory=memory)
    return score, torch.where(index < 0, -1, rows[index.clamp(min=0)])


def _check_features(x: Tensor, name: str, like: Tensor) -> None:
    if not isinstance(x, Tensor) or x.is_complex() or x.dtype == torch.bool or x.layout != torch.strided:
        kind = f"{x.dtype} {x.layout}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a dense tensor of numbers, got {kind}")
    if x.device != like.device:
        raise ValueError(f"{name} is on {x.device}, but x is on {like.device}: move one of them")


def _unit(x: Tensor, present: Tensor | None, name: str) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if present is not None:
        wide = torch.where(present.unsqueeze(1), wide, 0.0)
    if not bool(torch.isfinite(wide).all()):
        raise ValueError(f"{name} holds NaN or infinite features")
    return normalize(wide, dim=1)


def _faiss(
    base: Tensor,
    target: Tensor,
    k: int,
    present: Tensor | None,
    query_present: Tensor | None,
    itself: bool,
) -> Neighbours:
    if find_spec("faiss") is None:
        raise ModuleNotFoundError("impl='faiss' needs faiss: pip install 'mmgraph[ann]'")
    import faiss

    kept = torch.arange(base.shape[0]) if present is None else present.nonzero().squeeze(1).cpu()
    index = faiss.IndexFlatIP(base.shape[1])
    index.add(base.float().cpu()[kept].numpy())
    found, place = index.search(target.float().cpu().numpy(), k + itself)
    score, row = torch.from_numpy(found), torch.from_numpy(place)
    row = torch.where(row >= 0, kept[row.clamp(min=0)] if kept.numel() else row, row)
    wrong = row < 0
    if itself:
        wrong |= row == torch.arange(target.shape[0]).unsqueeze(1)
    if query_present is not None:
        wrong |= ~query_present.cpu().unsqueeze(1)
    score = score.masked_fill(wrong, -torch.inf)
    score, order = torch.sort(score, dim=1, descending=True, stable=True)
    row = row.masked_fill(wrong, -1).gather(1, order)
    return Neighbours(row[:, :k].to(base.device), score[:, :k].to(base.device))
