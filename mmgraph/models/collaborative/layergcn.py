"""LayerGCN: layers that keep near to where they began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.nn.propagation import by_likeness, layers

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class LayerGCN(LightGCN):
    """LayerGCN: E^l = cos(A E^{l−1}, E⁰) ⊙ A E^{l−1}, summed over l ≥ 1.

    Zhou et al., "Layer-refined Graph Convolutional Networks for Recommendation", ICDE 2023,
    https://arxiv.org/abs/2207.11088. Its degree-sensitive pruning is an epoch transform,
    ``epoch_transforms=(EdgeDrop(0.1, degree_sensitive=True),)``; the public code takes a random one every other epoch.

    Args:
        graph, embedding_dim, num_layers, l2, …: as :class:`LightGCN`, of which ``layer_weights`` is not read.
    """

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        return rows.split(graph, sum(self._layers(graph, rows)[1:]))  # type: ignore[arg-type]

    def _layers(self, graph: MultimodalGraph, rows: Rows) -> list[Tensor]:
        adjacency = graph.adjacency(self.edge_types)
        return layers(adjacency, self.embedding, self.num_layers, by_likeness, rows.stacked(graph))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        ego, *more = self._layers(graph, rows)
        emb = rows.split(graph, sum(more))  # type: ignore[arg-type]
        return {**self.ranking_loss(graph, emb, rows, at), "l2": self.l2 * embedding_l2(len(batch.user), ego)}
