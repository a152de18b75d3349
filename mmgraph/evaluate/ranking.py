"""What a ranking is, apart from what is measured on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ranking:
    """The lists of one group, and where the targets stand in them. A metric is a function of it.

    n lists (one a user, or one a request), K places.

    Attributes:
        users: [n] int64, the user row of each list.
        lists: [n, K] int64 video rows, best first; -1 where a list is shorter.
        scores: [n, K], -inf there.
        hits: [n, K] bool, whether the video at that place is a target.
        target_lines, target_videos: [T] int64, every target: the list it belongs to, and its video row.
        num_candidates: [n] int64, how many videos each list was chosen from.
        popularity: [V] int64, training users of each video; 0: a new video.
        pool: [C] int64, the videos that stand among the candidates of some list; None for all.
        rank_sums: [n] float64, the sum of the ranks of each list's targets among its candidates, ranks from 1 at the
            lowest score, equal scores sharing the mean of their ranks; None where AUC was not asked.
        requests: [n] int64, the request of each list; None where a list is a user's.
        graph: what the model read: entity nodes, features and times for metrics that want them.
        k: the cut-off, K unless every list is shorter.
    """

    users: Tensor
    lists: Tensor
    scores: Tensor
    hits: Tensor
    target_lines: Tensor
    target_videos: Tensor
    num_candidates: Tensor
    popularity: Tensor
    k: int
    pool: Tensor | None = None
    rank_sums: Tensor | None = None
    requests: Tensor | None = None
    graph: Any = None

    def __len__(self) -> int:
        return len(self.lists)

    def __repr__(self) -> str:
        return f"Ranking({len(self)} lists of {self.k}, {len(self.target_videos)} targets)"

    @property
    def num_targets(self) -> Tensor:
        """[n] int64, at least 1."""
        return torch.bincount(self.target_lines, minlength=len(self.lists))

    @property
    def filled(self) -> Tensor:
        """[n, K] bool: the places that hold a video."""
        return self.lists >= 0

    @property
    def is_new(self) -> Tensor:
        """[n, K] bool: the places that hold a new video, one without a training user."""
        return self.filled & self.of_videos(self.popularity == 0)

    @property
    def new_pool(self) -> int:
        """How many new videos stand among the candidates."""
        return int((self.in_pool(self.popularity) == 0).sum())

    def of_videos(self, values: Tensor) -> Tensor:
        """[n, K]: a value a video ([V]) at each place; that of row 0 at places without a video, see ``filled``."""
        return values.to(self.lists.device)[self.lists.clamp(min=0)]

    def in_pool(self, values: Tensor) -> Tensor:
        """[C]: a value a video ([V]) of each candidate."""
        return values if self.pool is None else values[self.pool]

    def exposure(self, weight: Tensor | None = None) -> Tensor:
        """[V]: in how many lists each video stands; with ``weight`` [K] the sum of the weights of its places."""
        size, filled = len(self.popularity), self.filled
        if weight is None:
            return torch.bincount(self.lists[filled], minlength=size)
        weights = weight.to(self.lists.device).expand(self.lists.shape)[filled]
        return torch.bincount(self.lists[filled], weights, minlength=size)

    def at(self, k: int) -> Ranking:
        """The lists cut at k."""
        return replace(self, lists=self.lists[:, :k], scores=self.scores[:, :k], hits=self.hits[:, :k], k=k)

    def select(self, lines: Tensor) -> Ranking:
        """Some of the lists, [m] ascending."""
        place = torch.full((len(self.lists),), -1, device=lines.device)
        place[lines] = torch.arange(len(lines), device=lines.device)
        at = place[self.target_lines]
        mine = at >= 0
        picked = {
            name: None if getattr(self, name) is None else getattr(self, name)[lines]
            for name in ("users", "lists", "scores", "hits", "num_candidates", "rank_sums", "requests")
        }
        return replace(self, **picked, target_lines=at[mine], target_videos=self.target_videos[mine])

    def cpu(self) -> Ranking:
        """The same on the CPU; the graph stays where it is."""
        tensors = {name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)
