"""UltraGCN: the limit of infinitely many layers, as weights of a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.graph.samplers import Draws, PairBatch, PairSampler, Sampler
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, ByColumns, Embeddings, Recommender, Rows, batch_rows
from mmgraph.models.closed.linear import interaction_matrix
from mmgraph.nn.tables import normal_table
from mmgraph.ops import gram_blocks, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class UltraGCN(Recommender):
    """UltraGCN: no propagation; pairs, negatives and like videos are weighted as infinitely many layers would.

    Mao et al., "UltraGCN: Ultra Simplification of Graph Convolutional Networks for Recommendation", CIKM 2021,
    https://arxiv.org/abs/2110.15114. β_uv = (1/d_u) sqrt((d_u + 1)/(d_v + 1)). Terms, each summed over the batch:
    ``positive`` −(w₁ + w₂ β_uv) ln σ(ŷ_uv);  ``negative`` −w_n mean_j (w₃ + w₄ β_uj) ln σ(−ŷ_uj);  ``videos``
    −λ Σ_j ω_vj ln σ(ŷ_uj) over the ``neighbours`` j most co-watched with v, ω_vj = G_vj/(g_v − G_vv) sqrt(g_v/g_j),
    G = XᵀX and g its row sums;  ``l2`` γ/2 ‖the batch's rows‖². The public code leaves a video among its own
    neighbours, where the paper's sum is over others: ``as_coded`` does too.

    Args:
        graph: gives U, V, the degrees and the co-watched videos.
        embedding_dim: D.
        negatives: N a pair.
        negative_weight: w_n.
        weights: w₁ … w₄.
        videos: λ.
        neighbours: kept for each video.
        l2: γ, on the batch's rows (the paper: on all parameters).
        as_coded: as above.
    """

    neighbour: Tensor
    likeness: Tensor
    user_scale: Tensor
    video_scale: Tensor

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        negatives: int = 300,
        negative_weight: float = 300.0,
        weights: tuple[float, float, float, float] = (1e-6, 1.0, 1e-6, 1.0),
        videos: float = 5e-4,
        neighbours: int = 10,
        l2: float = 1e-4,
        as_coded: bool = False,
    ) -> None:
        super().__init__()
        self.negatives, self.negative_weight, self.weights = negatives, negative_weight, tuple(weights)
        self.videos, self.l2 = videos, l2
        self.user = normal_table(graph.num_users, embedding_dim, std=1e-4)
        self.video = normal_table(graph.num_videos, embedding_dim, std=1e-4)
        user, video = graph.seen.degree().float(), graph.seen.transpose().degree().float()
        self.register_buffer("user_scale", (user + 1).sqrt() / user.clamp_min(1))
        self.register_buffer("video_scale", (video + 1).rsqrt())
        neighbour, likeness = co_watched(graph, neighbours, itself=as_coded)
        self.register_buffer("neighbour", neighbour)
        self.register_buffer("likeness", likeness)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """The tables: user [U, D], video [V, D], or rows of them."""
        return rows.of(self.user, self.video)

    def by_columns(self) -> ByColumns:
        """The tables; ``l2`` is a sum over columns."""
        return ByColumns({"user": 1, "video": 1}, ("l2",))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``positive``, ``negative``, ``videos`` and ``l2``."""
        rows, at = batch_rows(batch)
        user = F.embedding(at.user, rows.of_users(self.user))
        videos = torch.cat([batch.candidates, self.neighbour[batch.positive]], 1)
        scores = self.head.products.dot_at(user, self.video, videos)
        own, other, near = scores.split([1, batch.negative.shape[1], self.neighbour.shape[1]], 1)
        w1, w2, w3, w4 = self.weights
        scale = self.user_scale[batch.user].unsqueeze(1)
        positive = (w1 + w2 * scale * self.video_scale[batch.positive].unsqueeze(1)) * F.softplus(-own)
        negative = (w3 + w4 * scale * self.video_scale[batch.negative]) * F.softplus(other)
        like = self.likeness[batch.positive] * F.softplus(-near)
        return {
            "positive": positive.sum(),
            "negative": self.negative_weight * negative.mean(1).sum(),
            "videos": self.videos * like.sum(),
            "l2": self.l2 * embedding_l2(1, *rows.of(self.user, self.video)),
        }

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """Pairs with N negatives each."""
        return PairSampler(graph, batch_size, Draws(self.negatives))


def co_watched(graph: MultimodalGraph, count: int, itself: bool = False) -> tuple[Tensor, Tensor]:
    """The ``count`` videos of the largest ω with each video, [V, count], and ω, 0 where there are fewer."""
    x = interaction_matrix(graph)
    videos, width = graph.num_videos, min(count, graph.num_videos)
    # g_v: how many videos those who watched v watched, counted once a person
    total = spmm(x.transpose(), x.degree().double().unsqueeze(1)).squeeze(1)
    own = x.transpose().degree().double()
    neighbour = torch.zeros(videos, width, dtype=torch.int64, device=x.device)
    likeness = torch.zeros(videos, width, device=x.device)
    for at, rows in gram_blocks(x, rows=1024):
        block = rows.dense().double()
        line = torch.arange(len(block), device=x.device)
        if not itself:
            block[line, line + at.start] = 0
        scale = (total[at].sqrt() / (total[at] - own[at]).clamp_min(1e-12)).unsqueeze(1)
        best = (scale * block / total.clamp_min(1e-12).sqrt()).topk(width, 1)
        neighbour[at], likeness[at] = best.indices, best.values.float()
    return neighbour, likeness
