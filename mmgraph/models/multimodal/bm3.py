"""BM3: no negatives, each view predicts another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch, PairSampler, Sampler
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import WithIds
from mmgraph.nn.projection import projections

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class BM3(WithIds):
    """BM3: bootstrapped views of users, videos and their content; no negative is ever drawn.

    Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation", WWW 2023,
    https://arxiv.org/abs/2207.05969. u, v = LightGCN (v + E_v); x̃ = predictor(x), x̂ = dropout(x) without gradient.
    ``pair`` = (1 − cos(ũ, v̂)) + (1 − cos(ṽ, û));  ``content`` = c Σ_m (1 − cos(f̃_m, v̂)) + (1 − cos(f̃_m, f̂_m)), f_m
    = P_m f, over the videos that have m;  ``norm`` = λ ‖·‖ of both outputs / V, not squared, as the public code has it.
    Ranks by the predictor's outputs: ũᵀ ṽ; content shapes them but is not in the score.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        num_layers: of LightGCN.
        dropout: of the targets.
        content: c.
        norm: λ.
        modalities: which to use; all of the graph's by default.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 1,
        dropout: float = 0.5,
        content: float = 2.0,
        norm: float = 0.1,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__(graph, embedding_dim=embedding_dim, num_layers=num_layers, modalities=modalities)
        self.content, self.norm, self.dropout = content, norm, nn.Dropout(dropout)
        self.predict = nn.Linear(embedding_dim, embedding_dim)
        self.project = projections(graph, self.modalities, embedding_dim)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """ũ [U, D] and ṽ [V, D], or rows of them."""
        return Embeddings(*(self.predict(x) for x in self._online(graph, rows)))

    def _online(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        user, video = rows.split(graph, self.propagated(graph, rows))
        return Embeddings(user, video + rows.of_videos(self.video))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``pair``, ``content`` and ``norm``."""
        rows, at = batch_rows(batch)
        whole = self._online(graph, rows)
        user, video = F.embedding(at.user, whole.user), F.embedding(at.positive, whole.video)
        target = self.dropout(video.detach())
        terms = {
            "pair": _apart(self.predict(user), target) + _apart(self.predict(video), self.dropout(user.detach())),
            "norm": self.norm * (whole.user.norm() + whole.video.norm()) / graph.num_videos,
        }
        each = [whole.user.sum() * 0.0]
        for m in self.modalities:
            feature = graph.features(m)
            have = feature.present[batch.positive]
            content = self.project[m](feature.values[batch.positive[have]])
            if len(content):
                predicted = self.predict(content)
                each += [_apart(predicted, target[have]), _apart(predicted, self.dropout(content.detach()))]
        return {**terms, "content": self.content * torch.stack(each).sum()}

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """Pairs without negatives."""
        return PairSampler(graph, batch_size, 0)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """1 − mean cosine of corresponding rows."""
    return 1 - F.cosine_similarity(a, b, dim=1).mean()
