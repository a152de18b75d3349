"""DropoutNet: a network that is used to missing ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows, pad_rows, warm_videos
from mmgraph.models.clicks import ReadsClicks, row_a_pair
from mmgraph.models.cold.base import ContentTables, Tables, small_linear
from mmgraph.nn.profile import profile_mean
from mmgraph.nn.projection import SkipTower
from mmgraph.objectives import Objective
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class DropoutNet(ReadsClicks, ContentTables):
    """DropoutNet: one network reads id and content, and in training the id is often missing.

    Volkovs et al., "DropoutNet: Addressing Cold Start in Recommender Systems", NeurIPS 2017,
    https://papers.nips.cc/paper/7081. video = s + MLP(s), s = b_v · id_v + Σ_m W_m x_v^m, with b_v = 0 for a cold
    video and, in training, for a random share of the batch's videos; user = s + MLP(s), s = b_u · id_u + mean of W_m
    x over the watched (in training without the video being predicted). The paper distils a finished factorisation;
    here the ids are learned along, by BPR.

    Args:
        graph, more: ``embedding_dim``, ``l2``, ``modalities``: as :class:`ContentTables`.
        hidden: width of each MLP.
        dropout: share of users and of videos whose id is dropped.
        objective: one other than BPR.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        hidden: int = 128,
        dropout: float = 0.5,
        objective: Objective | None = None,
        **more: Unpack[Tables],
    ) -> None:
        super().__init__(graph, objective, **more)
        self.dropout = dropout
        self.project = nn.ModuleDict({m: small_linear(d, self.dim) for m, d in self.content.dims.items()})
        self.user_net = SkipTower(self.dim, hidden, nn.LeakyReLU())
        self.video_net = SkipTower(self.dim, hidden, nn.LeakyReLU())

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Rows [n, D] from content, ids missing."""
        return self.video_net(self._project(self.content(features)[0]))

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them; a cold video has no id."""
        content = self._project(self.content.of(graph)[0])
        user = rows.of_users(self.user) + profile_mean(graph.seen, content, rows.user)
        video = rows.of_videos(self._ids(graph)) + rows.of_videos(content)
        return Embeddings(self.user_net(user), self.video_net(video))

    def _ids(self, graph: MultimodalGraph) -> Tensor:
        return pad_rows(self.video, graph.num_videos) * warm_videos(graph).unsqueeze(1)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        content = self._project(self.content.of(graph)[0])
        # one row a pair: its profile leaves out its own video
        watched = profile_mean(graph.seen, content, batch.user, without=batch.positive)
        user = F.embedding(at.user, self._drop(rows.of_users(self.user))) + watched
        video = self._drop(rows.of_videos(self._ids(graph))) + rows.of_videos(content)
        emb = Embeddings(self.user_net(user), self.video_net(video))
        terms = self.ranking_loss(graph, emb, *row_a_pair(batch, rows, at))
        return {**terms, "l2": self.penalty(batch, rows)}

    def _drop(self, ids: Tensor) -> Tensor:
        """Ids of which a random share is missing, in training."""
        if not self.training or not self.dropout:
            return ids
        return ids * (torch.rand(len(ids), 1, device=ids.device) >= self.dropout)

    def of_clicks(self, graph: MultimodalGraph, clicks: CSR) -> Embeddings:
        """The user network without an id."""
        watched = profile_mean(clicks, self._project(self.content.of(graph)[0]))
        return Embeddings(self.user_net(watched), self.encode(graph).video)

    def _project(self, x: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.project[m](v) for m, v in x.items()]).sum(0)
