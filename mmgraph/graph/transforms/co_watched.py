"""Users joined to those who watched the same videos, and videos to those that the same users watched."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.graph.transforms.knn import symmetric_weights
from mmgraph.ops import CSR, checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class UserCoInteraction:
    """Adds edges ``(user, co_watched, user)``: each user's ``k`` users of the most videos in common.

    Weights a_uj = softmax_j of the number in common (DualGNN, DRAGON), or 1/k.

    Args:
        k: neighbours a user, at most.
        softmax: as above.
    """

    k: int = 40
    softmax: bool = True

    def __post_init__(self) -> None:
        checks.count(self.k, "k")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them)."""
        target, source, common, place = most_in_common(graph.seen, self.k)
        weight = torch.full((graph.num_users, self.k), -torch.inf)
        weight[target, place] = common if self.softmax else torch.zeros_like(common)
        return _joined(graph, ("user", "co_watched", "user"), target, source, weight.softmax(1)[target, place])


@dataclass(frozen=True)
class VideoCoInteraction:
    """Adds edges ``(video, watched_with, video)``: each video's ``k`` videos of the most users in common, and itself.

    Weights w_ij / sqrt(d_i d_j), d_i = Σ_j w_ij, w binary as in DA-MRS's item behaviour graph (KDD 2024,
    https://doi.org/10.1145/3637528.3671703), or the number in common.

    Args:
        k: neighbours a video, at most, without itself.
        least: users that a pair must have in common.
        counts: weigh by their number; itself then counts 1.
    """

    k: int = 10
    least: int = 2
    counts: bool = False

    def __post_init__(self) -> None:
        checks.count(self.k, "k")
        checks.count(self.least, "least")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them)."""
        target, source, common, _ = most_in_common(graph.seen.transpose(), self.k, self.least)
        own = torch.arange(graph.num_videos)
        target, source = torch.cat([own, target]), torch.cat([own, source])
        weight = torch.cat([torch.ones(len(own)), common if self.counts else torch.ones_like(common)])
        weight = symmetric_weights(target, source, weight, graph.num_videos)
        return _joined(graph, ("video", "watched_with", "video"), target, source, weight)


def most_in_common(seen: CSR, k: int, least: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``k`` other rows that share the most columns with each row, duplicates counted once.

    Args:
        seen: CSR [R, C].
        k: how many, at most.
        least: columns that two rows must share.

    Returns:
        row [E], the other [E], how many they share [E] (float), and its place among the row's, 0 the most [E]; on CPU.
    """
    import scipy.sparse as sp

    key = torch.unique(seen.row_indices().long() * seen.shape[1] + seen.indices.long()).cpu().numpy()
    x = sp.csr_matrix(
        ([1.0] * len(key), (key // seen.shape[1], key % seen.shape[1])), shape=seen.shape, dtype="float32"
    )
    parts = []
    for start in range(0, seen.shape[0], 2048):
        common = torch.from_numpy((x[start : start + 2048] @ x.T).toarray())
        line = torch.arange(len(common))
        common[line, line + start] = 0
        best = common.topk(min(k, seen.shape[0]), dim=1)
        row, place = (best.values >= max(least, 1)).nonzero(as_tuple=True)
        parts.append((row + start, best.indices[row, place], best.values[row, place], place))
    row, other, shared, place = (torch.cat(part) for part in zip(*parts, strict=True))
    return row, other, shared, place


def _joined(
    graph: MultimodalGraph, kind: tuple[str, str, str], target: Tensor, source: Tensor, weight: Tensor
) -> MultimodalGraph:
    out, device = copy.copy(graph), graph.seen.device
    store = out[kind]
    store.edge_index, store.weight = torch.stack([source, target]).to(device), weight.to(device)
    return out
