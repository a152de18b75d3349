"""Videos joined to those that random walks over the interactions reach most often."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmgraph.ops import checks, random_walks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class RandomWalkNeighbours:
    """Adds edges ``(video, walked, video)``: each video's ``k`` most visited ones, weights their shares of the visits.

    Walks video → user → video with restarts, as in PinSage (Ying et al., KDD 2018, https://arxiv.org/abs/1806.01973):
    neighbours that matter, however high a video's degree.

    Args:
        k: neighbours a video, at most.
        walks: walks a video.
        length: steps of a walk.
        restart: chance of going back to the start after each step.

    Raises:
        TypeError, ValueError: no whole numbers from 1 on, or a chance outside 0 to 1.
    """

    k: int = 10
    walks: int = 50
    length: int = 4
    restart: float = 0.5

    def __post_init__(self) -> None:
        for name in ("k", "walks", "length"):
            checks.count(getattr(self, name), name)
        checks.number(self.restart, "restart", 0, 1, below=True)

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them)."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        starts = torch.arange(graph.num_videos, device=graph.seen.device)
        found = random_walks(
            graph.seen,
            starts,
            min(self.k, graph.num_videos),
            num_walks=self.walks,
            length=self.length,
            restart=self.restart,
            generator=generator,
        )
        keep = found.video >= 0
        target = starts.unsqueeze(1).expand_as(found.video)[keep]
        count = found.count.float()
        weight = (count / count.sum(1, keepdim=True).clamp_min(1))[keep]
        out = copy.copy(graph)
        store = out["video", "walked", "video"]
        store.edge_index = torch.stack([found.video[keep], target])
        store.weight = weight
        return out
