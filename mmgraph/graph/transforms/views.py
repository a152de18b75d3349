"""Random views of the interactions beside the interactions themselves."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmgraph.graph.transforms.drop import EdgeDrop
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class EdgeViews:
    """Adds edge types ``(user, view_0, video)``, ``(user, view_1, video)``, …: the interactions, thinned at random.

    As an epoch transform it draws them anew each epoch, as SGL does (Wu et al., SIGIR 2021,
    https://arxiv.org/abs/2010.10783).

    Args:
        rate: share of the edges left out of each view, in [0, 1).
        count: how many views.

    Raises:
        ValueError: a rate outside [0, 1), or no view.
    """

    rate: float = 0.1
    count: int = 2

    def __post_init__(self) -> None:
        EdgeDrop(self.rate)
        checks.count(self.count, "count")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the views (replaced where it had them)."""
        out = copy.copy(graph)
        for view in range(self.count):
            thinned = EdgeDrop(self.rate)(graph, generator)
            out["user", f"view_{view}", "video"].edge_index = thinned["user", "interacts", "video"].edge_index
        return out
