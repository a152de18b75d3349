"""Interactions thinned at random."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class EdgeDrop:
    """Keeps a random share 1 − ``rate`` of the interactions: what ``fit`` applies anew each epoch.

    With ``degree_sensitive`` an edge is kept with chances ∝ 1/sqrt(d_u d_v), without replacement (FREEDOM,
    https://arxiv.org/abs/2211.06924; LayerGCN, https://arxiv.org/abs/2207.11088), so that hubs lose more.

    Args:
        rate: share dropped, in [0, 1).
        degree_sensitive: as above; uniform otherwise.
    """

    rate: float
    degree_sensitive: bool = False

    def __post_init__(self) -> None:
        checks.number(self.rate, "rate", 0, 1, below=True)

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with fewer interactions, their attributes kept along."""
        store = graph["user", "interacts", "video"]
        user, video = store.edge_index
        keep = self._choose(user, video, graph, generator)
        out = copy.copy(graph)
        kept = out["user", "interacts", "video"]
        for key, value in store.items():
            kept[key] = value[:, keep] if key == "edge_index" else value[keep]
        out["video", "rev_interacts", "user"].edge_index = kept.edge_index.flip(0)
        return out

    def _choose(self, user: Tensor, video: Tensor, graph: MultimodalGraph, generator: torch.Generator | None) -> Tensor:
        count = round(len(user) * (1 - self.rate))
        # Gumbel top-k: sampling without replacement with chances ∝ exp(log_chance)
        key = -torch.log(-torch.log(torch.rand(len(user), generator=generator).clamp(1e-12, 1 - 1e-7)))
        if self.degree_sensitive:
            degree_u = torch.bincount(user, minlength=graph.num_users).float()
            degree_v = torch.bincount(video, minlength=graph.num_videos).float()
            key = key - 0.5 * (degree_u[user].log() + degree_v[video].log()).cpu()
        return key.topk(count, sorted=False).indices.sort().values.to(user.device)
