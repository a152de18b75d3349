"""How popular videos are: clicks that lose half their weight every half-life, and a ranking made now and then."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.constraint import Constraint

_PUBLISHED = 2000
_REBASE = 256.0  # half-lives
_NOBODY: NDArray[np.int64] = np.empty(0, np.int64)


class Popularity:
    """Weights of clicks by the time of the event, so that late ones count with what is left of them.

    Args:
        weight: [V] float64 at the moment ``at``; copied.
        at: UTC seconds.
        half_life: seconds.

    Attributes:
        weight: of each video, with room for more, in units of a click at the moment ``at``.
        published: the ranking that :meth:`best` reads, made at ``published_at``.
    """

    def __init__(self, weight: NDArray[np.float64], at: float, half_life: float) -> None:
        self.weight, self.at, self.half_life = weight.copy(), at, half_life
        self.published = _NOBODY
        self.published_at = at

    def grow(self, row: int) -> None:
        """Makes room for a video."""
        if row >= len(self.weight):
            self.weight = np.concatenate([self.weight, np.zeros(max(1024, row // 8))])

    def count(self, video: int, time: float) -> None:
        """Notes a click."""
        age = (time - self.at) / self.half_life
        if age > _REBASE:  # the weights grow with time: count in a later moment's before they are too large
            self.weight *= 2.0 ** -float(int(age))
            self.at += int(age) * self.half_life
            age -= int(age)
        self.weight[video] += 2.0**age

    def publish(self, now: float, constraint: Constraint) -> None:
        """Ranks anew.

        Args:
            now: UTC seconds, kept as ``published_at``.
            constraint: what may be shown.
        """
        self.published = self._now(_PUBLISHED, constraint, _NOBODY, None)
        self.published_at = now

    def best(
        self, k: int, constraint: Constraint, exclude: NDArray[np.int64] = _NOBODY, allowed: Tensor | None = None
    ) -> NDArray[np.int64]:
        """Rows of the k most popular videos that may be shown, best first, by the ranking last published.

        Where too few of its 2,000 are left, by the popularity of now. What is hidden since is left out in any case.
        """
        rows = self.published
        keep = ~np.isin(rows, exclude)
        if allowed is not None:
            keep &= allowed.numpy()[rows]
        found = rows[keep].tolist()
        found = [row for row, good in zip(found, constraint.opens(found), strict=True) if good]
        if len(found) >= k:
            return np.array(found[:k], np.int64)
        return self._now(k, constraint, exclude, allowed)

    def _now(
        self, k: int, constraint: Constraint, exclude: NDArray[np.int64], allowed: Tensor | None
    ) -> NDArray[np.int64]:
        size = constraint.num_videos
        weight = self.weight[:size].copy()
        weight[~constraint.columns.numpy()] = -1.0
        weight[exclude] = -1.0
        if allowed is not None:
            weight[~allowed.numpy()] = -1.0
        k = min(k, size)
        if not k:
            return np.empty(0, np.int64)
        bound = np.partition(weight, size - k)[size - k]
        above = np.flatnonzero(weight > max(bound, -0.5))
        above = above[np.argsort(-weight[above], kind="stable")]
        # among equals at the edge of the list the earlier rows
        edge = np.flatnonzero(weight == bound)[: k - len(above)] if bound >= 0 else np.empty(0, np.int64)
        return np.concatenate([above, edge]).astype(np.int64)
