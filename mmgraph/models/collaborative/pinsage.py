"""PinSage: videos made of the videos that random walks reach from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import ALL, Embeddings, People, Recommender, Rows, batch_rows, chosen_modalities
from mmgraph.nn.profile import profile_mean
from mmgraph.nn.projection import projections
from mmgraph.objectives import MaxMargin, Objective
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class PinSage(Recommender):
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
        wanted = graph.modalities if modalities is None else list(modalities)
        self.modalities = chosen_modalities(graph, wanted) if wanted else []
        self.video = nn.Parameter(0.1 * torch.randn(graph.num_videos, embedding_dim))
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
        each = torch.arange(len(user), device=user.device)
        emb = Embeddings(user, rows.of_videos(video))
        return self.ranking_loss(graph, emb, Rows(batch.user, rows.video), at._replace(user=each))

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The mean of what people clicked: exact.

        Raises:
            ValueError: no clicks.
        """
        clicks = people.clicks_for(self, graph.num_videos)
        video = self._videos(graph)
        return Embeddings(profile_mean(clicks, video), video)
