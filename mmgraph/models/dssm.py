"""DSSM: two towers, a cosine, and the rest of the batch as negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import Embeddings, Recommender, Rows
from mmgraph.nn.heads import CosineHead
from mmgraph.ops import in_batch_logits, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class DSSM(Recommender):
    """Two towers, one for users and one for videos, scored by cosine / τ, trained by an in-batch softmax with logQ.

    Huang et al., "Learning Deep Structured Semantic Models", CIKM 2013, https://doi.org/10.1145/2505515.2505665; the
    in-batch softmax and its correction for popularity as in Yi et al., RecSys 2019,
    https://doi.org/10.1145/3298689.3346996. Video tower: MLP(id_v + Σ_m present_m W_m f_v^m). User tower: MLP(id_u +
    mean of the inputs of the watched videos). Each MLP: D → hidden → D, with a skip connection.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        hidden: width of each tower's middle layer.
        temperature: τ.
        modalities: which the video tower reads; all of the graph's by default.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        hidden: int = 128,
        temperature: float = 0.1,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__(CosineHead(temperature))
        self.modalities = graph.modalities if modalities is None else list(modalities)
        self.user = nn.Parameter(0.1 * torch.randn(graph.num_users, embedding_dim))
        self.video = nn.Parameter(0.1 * torch.randn(graph.num_videos, embedding_dim))
        self.project = nn.ModuleDict({m: nn.Linear(graph.feature_dims[m], embedding_dim) for m in self.modalities})
        self.user_tower = _tower(embedding_dim, hidden)
        self.video_tower = _tower(embedding_dim, hidden)

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """The towers' outputs: user [U, D], video [V, D], or rows of them."""
        content = self.video
        for m in self.modalities:
            feature = graph.features(m)
            content = content + self.project[m](feature.values) * feature.present.unsqueeze(1)
        seen = graph.seen
        users = None if rows is None else rows.user
        watched = spmm(seen, content, rows=users)
        degree = seen.degree().clamp_min(1).to(watched.dtype).unsqueeze(1)
        own = self.user
        if rows is not None:
            degree, own, content = degree[rows.user], own[rows.user], content[rows.video]
        user = own + watched / degree
        return Embeddings(user + self.user_tower(user), content + self.video_tower(content))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``softmax``: the batch's other positives are the negatives, less the log of how often they are drawn."""
        user, user_at = torch.unique(batch.user, return_inverse=True)
        video, video_at = torch.unique(batch.positive, return_inverse=True)
        emb = self.encode(graph, Rows(user, video))
        scores = self.head(emb.user[user_at], emb.video[video_at])
        counts = graph.seen.transpose().degree()
        logits = in_batch_logits(scores, batch.positive, counts)
        return {"softmax": F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))}


def _tower(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
