"""DropoutNet: a network that is used to missing ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, People, Rows, batch_rows, pad_rows, warm_videos
from mmgraph.models.cold.base import ContentModel, small_linear
from mmgraph.nn.content import ContentInput
from mmgraph.nn.profile import profile_mean
from mmgraph.objectives import Objective

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class DropoutNet(ContentModel):
    """DropoutNet: one network reads id and content, and in training the id is often missing.

    Volkovs et al., "DropoutNet: Addressing Cold Start in Recommender Systems", NeurIPS 2017,
    https://papers.nips.cc/paper/7081. video = s + MLP(s), s = b_v · id_v + Σ_m W_m x_v^m, with b_v = 0 for a cold
    video and, in training, for a random share of the batch's videos; user = s + MLP(s), s = b_u · id_u + mean of W_m
    x over the watched (in training without the video being predicted). The paper distils a finished factorisation;
    here the ids are learned along, by BPR.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        hidden: width of each MLP.
        dropout: share of users and of videos whose id is dropped.
        l2: weight of the L2 of the batch's id rows.
        modalities: which to read; all by default.
        objective: one other than BPR.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        hidden: int = 128,
        dropout: float = 0.5,
        l2: float = 1e-4,
        modalities: Sequence[str] | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(objective=objective)
        self.content, self.dropout, self.l2 = ContentInput(graph, modalities), dropout, l2
        self.user = nn.Parameter(0.1 * torch.randn(graph.num_users, embedding_dim))
        self.video = nn.Parameter(0.1 * torch.randn(graph.num_videos, embedding_dim))
        self.project = nn.ModuleDict({m: small_linear(d, embedding_dim) for m, d in self.content.dims.items()})
        self.user_net = _tower(embedding_dim, hidden)
        self.video_net = _tower(embedding_dim, hidden)

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Rows [n, D] from content, ids missing."""
        return self._video(self._project(self.content(features)[0]))

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them; a cold video has no id."""
        content = self._project(self.content.of(graph)[0])
        user = rows.of_users(self.user) + profile_mean(graph.seen, content, rows.user)
        video = rows.of_videos(self._ids(graph)) + rows.of_videos(content)
        return Embeddings(self._user(user), self._video(video))

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
        emb = Embeddings(self._user(user), self._video(video))
        each = torch.arange(len(batch.user), device=batch.user.device)
        terms = self.ranking_loss(graph, emb, Rows(batch.user, rows.video), at._replace(user=each))
        l2 = embedding_l2(len(batch.user), *rows.of(self.user, self.video))
        return {**terms, "l2": self.l2 * l2}

    def _drop(self, ids: Tensor) -> Tensor:
        """Ids of which a random share is missing, in training."""
        if not self.training or not self.dropout:
            return ids
        return ids * (torch.rand(len(ids), 1, device=ids.device) >= self.dropout)

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The user network without an id, from clicks.

        Raises:
            ValueError: no clicks.
        """
        clicks = people.clicks_for(self, graph.num_videos)
        watched = profile_mean(clicks, self._project(self.content.of(graph)[0]))
        return Embeddings(self._user(watched), self.encode(graph).video)

    def _project(self, x: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.project[m](v) for m, v in x.items()]).sum(0)

    def _user(self, state: Tensor) -> Tensor:
        return state + self.user_net(state)

    def _video(self, state: Tensor) -> Tensor:
        return state + self.video_net(state)


def _tower(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(), nn.Linear(hidden, width))
