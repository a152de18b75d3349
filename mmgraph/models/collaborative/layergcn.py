"""LayerGCN: layers that keep near to where they began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmgraph.models.base import Rows
from mmgraph.models.collaborative.lightgcn import RefinedLayers
from mmgraph.nn.propagation import by_likeness, layers

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class LayerGCN(RefinedLayers):
    """LayerGCN: E^l = cos(A E^{l−1}, E⁰) ⊙ A E^{l−1}, summed over l ≥ 1.

    Zhou et al., "Layer-refined Graph Convolutional Networks for Recommendation", ICDE 2023,
    https://arxiv.org/abs/2207.11088. Its degree-sensitive pruning is an epoch transform,
    ``epoch_transforms=(EdgeDrop(0.1, degree_sensitive=True),)``; the public code takes a random one every other epoch.

    Args:
        graph, embedding_dim, num_layers, l2, …: as :class:`LightGCN`, of which ``layer_weights`` is not read.
    """

    def states(self, graph: MultimodalGraph, rows: Rows) -> list[Tensor]:
        """E⁰ … E^L at the rows."""
        adjacency = graph.adjacency(self.edge_types)
        return layers(adjacency, self.embedding, self.num_layers, by_likeness, rows.stacked(graph))

    def mixed(self, states: list[Tensor]) -> Tensor:
        """Σ_{l ≥ 1} E^l."""
        return sum(states[1:])  # type: ignore[return-value]
