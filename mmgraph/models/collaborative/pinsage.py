"""PinSage: videos made of the videos that random walks reach from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows, known_modalities
from mmgraph.models.clicks import ReadsClicks, row_a_pair
from mmgraph.nn.profile import profile_mean
from mmgraph.nn.projection import projections
from mmgraph.nn.tables import normal_table
from mmgraph.objectives import MaxMargin, Objective
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class PinSage(ReadsClicks):
    """PinSage: z_v = ReLU(W [Σ_j w_vj ReLU(Q h_j) ‖ h_v]) of norm 1 a layer, j the videos that walks from v visit most.

    Ying et al., "Graph Convolutional Neural Networks for Web-Scale Recommender Systems", KDD 2018,
    https://arxiv.org/abs/1806.01973. Neighbours and weights come from a transform,
    ``transforms=(RandomWalkNeighbours(k=10),)``; h⁰ is an id embedding plus the projected features. The paper's query
    is a pin; as in its session use a user is the mean of the watched videos, without the one predicted while training.
    Max-margin loss.

    Args:
        graph: gives V and the features' widths; must have the ``walked`` edges.
        embedding_dim: D.
        num_layers: L.
        modalities: read into h⁰; all of the graph's by default, may be none.
        objective: one other than the max-margin loss.

    Raises:
        ValueError: a graph without ``walked`` edges.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        modalities: Sequence[str] | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(objective=objective or MaxMargin())
        if ("video", "walked", "video") not in graph.edge_types:
            raise ValueError(
                "PinSage reads 'walked' edges, which this graph lacks: transforms=(RandomWalkNeighbours(),)"
            )
        self.modalities = known_modalities(graph, modalities)
        self.video = normal_table(graph.num_videos, embedding_dim)
        self.project = projections(graph, self.modalities, embedding_dim)
        self.message = nn.ModuleList(nn.Linear(embedding_dim, embedding_dim) for _ in range(num_layers))
        self.update = nn.ModuleList(nn.Linear(2 * embedding_dim, embedding_dim) for _ in range(num_layers))

    def _videos(self, graph: MultimodalGraph) -> Tensor:
        x = self.video
        for m in self.modalities:
            feature = graph.features(m)
            x = x + self.project[m](feature.values) * feature.present.unsqueeze(1)
        walked = graph.relation("walked", norm=None)
        for message, update in zip(self.message, self.update, strict=True):
            near = spmm(walked, F.relu(message(x)))
            x = F.normalize(F.leaky_relu(update(torch.cat([near, x], 1))), dim=1)
        return x

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        video = self._videos(graph)
        return Embeddings(profile_mean(graph.seen, video, rows.user), rows.of_videos(video))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``margin``)."""
        rows, at = batch_rows(batch, self.objective)
        video = self._videos(graph)
        user = profile_mean(graph.seen, video, batch.user, without=batch.positive)
        return self.ranking_loss(graph, Embeddings(user, rows.of_videos(video)), *row_a_pair(batch, rows, at))

    def of_clicks(self, graph: MultimodalGraph, clicks: CSR) -> Embeddings:
        """The mean of what people clicked: exact."""
        video = self._videos(graph)
        return Embeddings(profile_mean(clicks, video), video)
