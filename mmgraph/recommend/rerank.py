"""Lists ordered again: the best by score, weighed against an aim (calibration, a group's share, variety)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.ops import CSR, TopK, checks, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Chosen(NamedTuple):
    """A list while it is made: users [B], candidates [B, N] (-1 where there is none), those taken so far [B, t]."""

    users: Tensor
    candidates: Tensor
    taken: Tensor


class Aim(Protocol):
    """What a list is to be beside relevant."""

    def value(self, chosen: Chosen) -> Tensor:
        """[B, N]: how good the list would be with each candidate at its next place; higher is better."""
        ...


@dataclass(frozen=True, eq=False)
class Reranker:
    """Takes the k places one after the other: each goes to the candidate with the highest (1 − λ) s + λ · aim.

    s is the score, scaled to 0 … 1 over the candidates of the list, so that λ means the same for every model. λ = 0
    leaves the list as it is. Give it longer lists than are wanted: it can only choose among what it gets. For hard
    limits see :class:`~mmgraph.recommend.Quota`.

    Attributes:
        aim: :class:`Calibrated`, :class:`Share`, :class:`Varied`, or anything with ``value``.
        weight: λ, from 0 to 1.
    """

    aim: Aim
    weight: float

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight must be from 0 to 1, got {self.weight!r}")

    def __call__(self, found: TopK | Any, users: Tensor, k: int) -> TopK:
        """The k places of each list.

        Args:
            found: ``score`` [B, N] and ``video`` [B, N], as :func:`~mmgraph.recommend.recommend` returns them.
            users: [B] rows, for aims that depend on the user.
            k: how many; at most N are filled.

        Returns:
            TopK: the scores as they were given.
        """
        k = checks.count(k, "k")
        score, video = found.score, found.video
        if len(users) != len(video):
            raise ValueError(f"{len(users)} users for {len(video)} lists")
        real = video >= 0
        scaled = score.double().masked_fill(~real, 0)
        low = score.double().masked_fill(~real, torch.inf).amin(1, keepdim=True)
        high = score.double().masked_fill(~real, -torch.inf).amax(1, keepdim=True)
        scaled = torch.where(high > low, (scaled - low) / (high - low), 1.0)
        lines = torch.arange(len(video), device=video.device)
        left, empty = real.clone(), video.new_empty(len(video), 0)
        order, taken = empty, empty
        for _ in range(min(k, video.shape[1])):
            worth = (1 - self.weight) * scaled
            if self.weight:
                worth = worth + self.weight * self.aim.value(Chosen(users, video, taken))
            best = worth.masked_fill(~left, -torch.inf).argmax(1)  # the first of equals, as the list had them
            some = left[lines, best]
            order = torch.cat([order, torch.where(some, best, -1)[:, None]], 1)
            taken = torch.cat([taken, torch.where(some, video[lines, best], -1)[:, None]], 1)
            left[lines, best] = False
        short = k - taken.shape[1]
        given = score.gather(1, order.clamp(min=0)).masked_fill(order < 0, -torch.inf)
        return TopK(F.pad(given, (0, short), value=-torch.inf), F.pad(taken, (0, short), value=-1))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A list whose genres are mixed as in the user's history: −KL(p ‖ q̃), see :func:`calibration_kl`.

    Steck, "Calibrated Recommendations", RecSys 2018, https://doi.org/10.1145/3240323.3240372.

    Attributes:
        genres: [V, G], each row a mixture that sums to 1, or 0 for a video without a genre: :func:`genres_of`.
        profiles: [U, G] p of each user: :func:`genre_profiles`. Without a history nothing is preferred.
        alpha: α of q̃.
    """

    genres: Tensor
    profiles: Tensor
    alpha: float = 0.01

    def value(self, chosen: Chosen) -> Tensor:
        """[B, N]: −KL of the list with each candidate."""
        mixture = self.genres.to(chosen.candidates.device)
        so_far = mixture[chosen.taken.clamp(min=0)].masked_fill((chosen.taken < 0)[..., None], 0).sum(1)
        listed = so_far[:, None] + mixture[chosen.candidates.clamp(min=0)]
        total = listed.sum(2, keepdim=True)
        history = self.profiles.to(listed.device)[chosen.users][:, None].expand_as(listed)
        gap = calibration_kl(history, torch.where(total > 0, listed / total, 0.0), self.alpha)
        return -gap.nan_to_num(0.0)


@dataclass(frozen=True, eq=False)
class Share:
    """A list of which a group has a given share of the exposure (place i counts 1 / log2(i + 1)): −|share − target|.

    Attributes:
        videos: [V] bool, the group.
        target: from 0 to 1.
    """

    videos: Tensor
    target: float

    def value(self, chosen: Chosen) -> Tensor:
        """[B, N]: how near the share is with each candidate at the next place."""
        member = self.videos.to(chosen.candidates.device)
        weight = discount(chosen.taken.shape[1] + 1, chosen.candidates.device)
        so_far = (weight[:-1] * (member[chosen.taken.clamp(min=0)] & (chosen.taken >= 0))).sum(1)
        share = so_far[:, None] + weight[-1] * member[chosen.candidates.clamp(min=0)]
        return -(share / weight.sum() - self.target).abs()


@dataclass(frozen=True, eq=False)
class Varied:
    """A list of unlike videos: − the highest cosine with a video that is in it already (MMR).

    Carbonell & Goldstein, SIGIR 1998, https://doi.org/10.1145/290941.291025.

    Attributes:
        rows: [V, D] what is compared: a modality's features, a model's video rows.
    """

    rows: Tensor

    def value(self, chosen: Chosen) -> Tensor:
        """[B, N]; 0 for the first place."""
        unit = F.normalize(self.rows.to(chosen.candidates.device), dim=1)
        if not chosen.taken.shape[1]:
            return torch.zeros(chosen.candidates.shape, dtype=torch.float64, device=chosen.candidates.device)
        there = unit[chosen.taken.clamp(min=0)].masked_fill((chosen.taken < 0)[..., None], 0)
        return -(unit[chosen.candidates.clamp(min=0)] @ there.transpose(1, 2)).amax(2).double()


def discount(k: int, device: torch.device | str | None = None) -> Tensor:
    """[k] float64: 1 / log2(i + 1) of the places i from 1, how much of the attention each gets."""
    return 1 / torch.arange(2, k + 2, dtype=torch.float64, device=device).log2()


def genres_of(graph: MultimodalGraph | None, genres: Tensor | str) -> Tensor:
    """The genre mixture of each video, [V, G] float64: rows sum to 1, or 0 for a video without a genre.

    Args:
        graph: read for ``(video, belongs_to, <entity>)`` edges; None where ``genres`` is a tensor.
        genres: [V, G] weights from 0 on, or the name of an entity type.

    Raises:
        KeyError: the graph has no such entity type.
        ValueError: a negative or infinite weight, no graph, or no matrix.
    """
    if isinstance(genres, str):
        if graph is None:
            raise ValueError(f"no graph to read {genres!r} from: give the genres as a tensor [V, G]")
        if genres not in graph.entity_types:
            raise KeyError(f"no entity type {genres!r} in this graph; it has {graph.entity_types}")
        edges = graph["video", "belongs_to", genres].edge_index
        weights = torch.zeros(graph.num_videos, int(graph[genres].num_nodes), dtype=torch.float64, device=edges.device)
        weights[edges[0], edges[1]] = 1.0
    else:
        weights = genres.double()
    if weights.dim() != 2 or not bool(weights.isfinite().all()) or bool((weights < 0).any()):
        raise ValueError(f"genres must be [V, G] weights from 0 on, got {list(weights.shape)}")
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def genre_profiles(seen: CSR, genres: Tensor) -> Tensor:
    """The mean genre mixture of what each user interacted with, [U, G] float64; NaN without a genre in the history.

    Args:
        seen: CSR [U, V].
        genres: [V, G] from :func:`genres_of`.
    """
    total = spmm(seen.with_values(None), genres.double().contiguous())
    count = total.sum(1, keepdim=True)
    return torch.where(count > 0, total / count, torch.nan)


def calibration_kl(history: Tensor, listed: Tensor, alpha: float = 0.01) -> Tensor:
    """KL(p ‖ q̃) = Σ_g p_g log(p_g / q̃_g) with q̃ = (1 − α) q + α p; 0 · log 0 = 0.

    Args:
        history: p [..., G]; NaN gives NaN.
        listed: q, the same shape.
        alpha: 0 < α < 1, so that a genre missing from the list costs something finite.

    Returns:
        [...] from 0 on.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
    mixed = (1 - alpha) * listed + alpha * history
    terms = torch.where(history > 0, history * (history / mixed.clamp_min(torch.finfo(mixed.dtype).tiny)).log(), 0.0)
    return torch.where(history.isnan().any(-1) | listed.isnan().any(-1), torch.nan, terms.sum(-1))
