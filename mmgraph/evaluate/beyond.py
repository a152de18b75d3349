"""Beyond accuracy, each with a closed form: novelty, exposure of groups under position discount, calibration to genres.

Metrics for :class:`~mmgraph.evaluate.EvalConfig`, beside ``coverage@k``, ``gini@k`` and ``popularity@k``, which are
always there::

    EvalConfig(k=(20,), metrics=(Novelty(), ExposureShare("tail", tail_videos), Calibration("genre")))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmgraph.evaluate.ranking import Ranking
from mmgraph.recommend import calibration_kl, discount, genre_profiles, genres_of

Group = Tensor | Callable[[Ranking], Tensor]


@dataclass(frozen=True)
class Novelty:
    """Mean self-information of the videos in each list, in bits: −log2 p(v), p(v) = (n_v + 1) / (Σ_w n_w + V).

    n_v are the training users of v, so a new video is the most novel. Zhou et al., PNAS 2010,
    https://doi.org/10.1073/pnas.1000488107, with one added to each count.
    """

    name: str = "novelty"

    def __call__(self, ranking: Ranking) -> Tensor:
        """[n]; NaN for an empty list."""
        count = ranking.popularity.double() + 1
        bits = ranking.of_videos(-(count / count.sum()).log2())
        return bits.masked_fill(~ranking.filled, 0).sum(1) / ranking.filled.sum(1)


@dataclass(frozen=True, eq=False)
class ExposureShare:
    """The share of each list's exposure that goes to a group: Σ_i d_i [v_i in it] / Σ_i d_i, d_i = 1 / log2(i + 1).

    Singh & Joachims, KDD 2018, https://doi.org/10.1145/3219819.3220088. Over full lists the mean is the group's share
    of all exposure.

    Attributes:
        group: its word; reported as ``exposure_<group>@k``, such as ``exposure_tail@20``.
        videos: [V] bool, or a function of the ranking that returns it: :func:`tail_videos`, :func:`new_videos`,
            :class:`OfEntity`.
    """

    group: str
    videos: Group

    @property
    def name(self) -> str:
        """``exposure_<group>``."""
        return f"exposure_{self.group}"

    def __call__(self, ranking: Ranking) -> Tensor:
        """[n]; NaN for an empty list."""
        weight = discount(ranking.lists.shape[1], ranking.lists.device)
        filled = ranking.filled
        inside = filled & ranking.of_videos(_members(self.videos, ranking))
        return (inside * weight).sum(1) / (filled * weight).sum(1)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far the genres of each list are from those of its user's history (Steck, RecSys 2018): 0 is the same mixture.

    KL(p ‖ q̃) = Σ_g p_g log(p_g / q̃_g), q̃ = (1 − α) q + α p, with p the mean genre mixture of what the user interacted
    with and q that of the list. https://doi.org/10.1145/3240323.3240372. A video's mixture is uniform over its genres;
    one without a genre counts in neither.

    Attributes:
        genres: [V, G] membership or weights, or the name of an entity type of the graph, such as ``"genre"``.
        alpha: α.
    """

    genres: Tensor | str
    alpha: float = 0.01
    name: str = "calibration_kl"

    def __call__(self, ranking: Ranking) -> Tensor:
        """[n]; NaN for an empty list, and for a user without a genre in the history."""
        device = ranking.lists.device
        mixture = genres_of(ranking.graph, self.genres).to(device)
        history = genre_profiles(ranking.graph.seen.to(device), mixture)[ranking.users]
        listed = mixture[ranking.lists.clamp(min=0)].masked_fill(~ranking.filled[..., None], 0).sum(1)
        total = listed.sum(1, keepdim=True)
        return calibration_kl(history, torch.where(total > 0, listed / total, torch.nan), self.alpha)


@dataclass(frozen=True)
class OfEntity:
    """The videos that belong to one entity of the graph: a group for :class:`ExposureShare`.

    Attributes:
        entity: the node type, such as ``"origin"``.
        row: which of them, such as AIGC's row.
    """

    entity: str
    row: int

    def __call__(self, ranking: Ranking) -> Tensor:
        """[V] bool.

        Raises:
            KeyError: the graph has no such entity.
            ValueError: or no such row.
        """
        member = genres_of(ranking.graph, self.entity)
        if not 0 <= self.row < member.shape[1]:
            raise ValueError(f"{self.entity} has {member.shape[1]} rows, row {self.row} was asked for")
        return member[:, self.row] > 0


def tail_videos(ranking: Ranking) -> Tensor:
    """[V] bool: all but the fifth of the videos that is most popular (equal ones by row)."""
    order = ranking.popularity.sort(descending=True, stable=True).indices
    out = torch.ones_like(order, dtype=torch.bool)
    out[order[: len(order) // 5]] = False
    return out


def new_videos(ranking: Ranking) -> Tensor:
    """[V] bool: those without a training user."""
    return ranking.popularity == 0


def _members(videos: Group, ranking: Ranking) -> Tensor:
    member: Any = videos if isinstance(videos, Tensor) else videos(ranking)
    if not isinstance(member, Tensor) or member.dtype != torch.bool or member.shape != ranking.popularity.shape:
        shown = f"{member.dtype} {list(member.shape)}" if isinstance(member, Tensor) else type(member).__name__
        raise ValueError(f"a group of videos is [{len(ranking.popularity)}] bool, got {shown}")
    return member.to(ranking.lists.device)
