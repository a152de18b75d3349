"""What a transform is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Transform(Protocol):
    """A callable from graph to graph. One that draws random numbers draws them from ``generator`` only."""

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The transformed graph; the one given is unchanged."""
        ...
