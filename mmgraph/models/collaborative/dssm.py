"""DSSM: two towers, a cosine, and the rest of the batch as negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import ALL, Embeddings, People, Recommender, Rows, batch_rows, known_modalities
from mmgraph.models.clicks import row_a_pair
from mmgraph.nn.heads import CosineHead
from mmgraph.nn.profile import profile_mean
from mmgraph.nn.projection import SkipTower, projections
from mmgraph.nn.tables import normal_table
from mmgraph.objectives import Objective, SampledSoftmax

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class DSSM(Recommender):
    """Two towers, one for users and one for videos, scored by cosine / τ, trained by an in-batch softmax with logQ.

    Huang et al., "Learning Deep Structured Semantic Models", CIKM 2013, https://doi.org/10.1145/2505515.2505665; the
    in-batch softmax and its correction for popularity as in Yi et al., RecSys 2019,
    https://doi.org/10.1145/3298689.3346996. Video tower: MLP(id_v + Σ_m present_m W_m f_v^m). User tower: MLP(id_u +
    W x_u + mean of the inputs of the watched videos), x_u the user's profile (``graph["user"].x``) where the graph has
    them. Each MLP: D → hidden → D, with a skip connection. In training the mean leaves out the video being predicted,
    which a user who comes tomorrow has not watched either.

    Args:
        graph: gives U, V, the features' widths and the profiles'.
        embedding_dim: D.
        hidden: width of each tower's middle layer.
        temperature: τ.
        modalities: which the video tower reads; all of the graph's by default.
        objective: one other than the in-batch softmax with logQ.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        hidden: int = 128,
        temperature: float = 0.1,
        modalities: Sequence[str] | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(CosineHead(temperature), objective or SampledSoftmax(log_q=True))
        self.modalities = known_modalities(graph, modalities)
        self.user = normal_table(graph.num_users, embedding_dim)
        self.video = normal_table(graph.num_videos, embedding_dim)
        self.project = projections(graph, self.modalities, embedding_dim)
        self.user_tower = SkipTower(embedding_dim, hidden, nn.ReLU())
        self.video_tower = SkipTower(embedding_dim, hidden, nn.ReLU())
        width = graph["user"].x.shape[1] if "x" in graph["user"] else 0
        self.profile = nn.Linear(width, embedding_dim, bias=False) if width else None

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """The towers' outputs: user [U, D], video [V, D], or rows of them."""
        content = self._content(graph)
        user = self._own(graph, rows.user) + profile_mean(graph.seen, content, rows.user)
        return self._towers(user, rows.of_videos(content))

    def _content(self, graph: MultimodalGraph) -> Tensor:
        """The video tower's inputs, [V, D]."""
        content = self.video
        for m in self.modalities:
            feature = graph.features(m)
            content = content + self.project[m](feature.values) * feature.present.unsqueeze(1)
        return content

    def _own(self, graph: MultimodalGraph, users: Tensor | None) -> Tensor:
        rows = Rows(users)
        own = rows.of_users(self.user)
        return own if self.profile is None else own + self.profile(rows.of_users(graph["user"].x))

    def _towers(self, user: Tensor, video: Tensor) -> Embeddings:
        return Embeddings(self.user_tower(user), self.video_tower(video))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms: ``softmax``."""
        rows, at = batch_rows(batch, self.objective)
        content = self._content(graph)
        # one row a pair: its profile leaves out its own video
        user = self._own(graph, batch.user) + profile_mean(graph.seen, content, batch.user, without=batch.positive)
        emb = self._towers(user, rows.of_videos(content))
        return self.ranking_loss(graph, emb, *row_a_pair(batch, rows, at))

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The user tower without an id, from clicks and, where the model has profiles, from a profile.

        Raises:
            ValueError: nothing that the tower reads.
        """
        content, clicks = self._content(graph), people.click_matrix(graph.num_videos)
        user = content.new_zeros(len(people), content.shape[1])
        if clicks is None and (self.profile is None or people.features is None):
            raise ValueError("DSSM reads clicks" + ("" if self.profile is None else " and profiles"))
        if clicks is not None:
            user = user + profile_mean(clicks, content)
        if self.profile is not None and people.features is not None:
            user = user + self.profile(people.features.to(user))
        return self._towers(user, content)
