"""The videos of a server: exact top-k over rows that are kept, grow in place and can be hidden one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.bundle import Bundle
from mmgraph.ops import CSR, TopK, TopKIndex, best_of

_LAST = 1024
_FEW = 64

Lists = list[list[tuple[int, float]]]
"""For each query the rows of videos and their scores, best first."""
MakeIndex = Callable[[Bundle], "Index"]


class Index:
    """A :class:`mmgraph.ops.TopKIndex` for one video and one user at a time; also over scores from elsewhere.

    Args:
        rows: [V, D] float32; D may be 0 where scores come from elsewhere.

    Attributes:
        kind: ``exact``; what approximates says so.
        recall: share of the best that it finds, measured where it is not all of them.
    """

    kind = "exact"
    recall = 1.0

    def __init__(self, rows: Tensor) -> None:
        # in two parts: the second makes room for a quarter more, so that no early append has to copy everything
        self._index = TopKIndex(rows[:-_LAST])
        self._index.append(rows[-_LAST:])

    def __len__(self) -> int:
        return len(self._index)

    @property
    def tail(self) -> int:
        """None: all rows are searched alike."""
        return 0

    @property
    def rows(self) -> Tensor:
        """[V, D], a view: do not write to it."""
        return self._index.video

    @property
    def hidden(self) -> Tensor:
        """[V] bool, a view: do not write to it."""
        return self._index.hidden

    def append(self, rows: Tensor) -> int:
        """Further videos [n, D]; the row of the first."""
        first = len(self)
        self._index.append(rows)
        return first

    def replace(self, row: int, values: Tensor) -> None:
        """Another row [D] for a video."""
        self._index.set(torch.tensor([row]), values[None])

    def hide(self, row: int) -> None:
        """Keeps a video out of every list."""
        self._index.hide(torch.tensor([row]))

    def show(self, row: int) -> None:
        """Lets a hidden video in again."""
        self._index.show(torch.tensor([row]))

    def search(
        self, queries: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> Lists:
        """The k videos with the highest dot product for each query, exact, ties to the lower row.

        Args:
            queries: [B, D].
            k: how many; fewer where too few are left.
            exclude: for each query the rows that it may not get.
            allowed: [V] bool, the only rows permitted, or [B, V], those of each query; all by default.
        """
        longest = max((len(rows) for rows in exclude), default=0)
        if longest > _FEW:
            return as_lists(self.top(queries, k, exclude, allowed))
        # the best k + n hold the best k without any n of them: cheaper than a matrix of pairs, and as exact
        found = self._index.search(queries, k + longest, candidates=allowed)
        return as_lists(found, k, [frozenset(rows.tolist()) for rows in exclude] if longest else None)

    def top(
        self, queries: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> TopK:
        """:meth:`search` as tensors, -1 and -inf where too few are left."""
        return self._index.search(queries, k, seen=self._pairs(exclude), candidates=allowed)

    def best(
        self, scores: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> TopK:
        """:meth:`top` for scores [B, V] from elsewhere; they are overwritten."""
        scores.masked_fill_(self.hidden, -torch.inf)
        if allowed is not None:
            scores.masked_fill_(~allowed, -torch.inf)
        for line, hidden in enumerate(exclude):
            scores[line, torch.from_numpy(hidden)] = -torch.inf
        return best_of(scores, k)

    def _pairs(self, exclude: Sequence[NDArray[np.int64]]) -> CSR | None:
        if not any(len(rows) for rows in exclude):
            return None
        sets = [np.unique(rows) for rows in exclude]
        indptr = np.zeros(len(sets) + 1, np.int64)
        np.cumsum([len(rows) for rows in sets], out=indptr[1:])
        indices = np.concatenate(sets).astype(np.int32)
        return CSR(torch.from_numpy(indptr), torch.from_numpy(indices), None, (len(sets), len(self)))


def exact(bundle: Bundle) -> Index:
    """The index of a bundle's videos, of no width for a model whose scores are no products of rows."""
    return Index(bundle.video.new_zeros(len(bundle.videos), 0) if bundle.user is None else bundle.video)


def as_lists(found: TopK, k: int | None = None, exclude: Sequence[frozenset[int]] | None = None) -> Lists:
    """Without the places that hold no video, nor what each query excludes; k at most."""
    pairs = zip(found.video.tolist(), found.score.tolist(), strict=True)
    if exclude is None:
        return [[one for one in zip(rows, scores) if one[0] >= 0][:k] for rows, scores in pairs]
    return [_without(out, rows, scores, k) for (rows, scores), out in zip(pairs, exclude, strict=True)]


def _without(out: frozenset[int], rows: list[int], scores: list[float], k: int | None) -> list[tuple[int, float]]:
    if (first := rows[:k]) and first[-1] >= 0 and out.isdisjoint(first):
        return list(zip(first, scores))  # most often what is barred is not among the best
    return [one for one in zip(rows, scores) if one[0] >= 0 and one[0] not in out][:k]
