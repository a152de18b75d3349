"""CLCRec: content that agrees with who watched it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import info_nce
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows, pad_rows, warm_videos
from mmgraph.models.cold.base import ContentTables, Tables, small_linear
from mmgraph.objectives import Objective, SampledSoftmax

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class CLCRec(ContentTables):
    """Contrastive cold start: a content encoder that agrees with the collaborative embedding of its video.

    Wei et al., "Contrastive Learning for Cold-Start Recommendation", ACM MM 2021, https://arxiv.org/abs/2107.05315.
    Tables e_u, e_v and an encoder c_v = MLP(x_v); two contrasts, both InfoNCE with the batch as negatives: users
    against videos, where each video is its e_v or, with chance ρ, its c_v; and e_v against c_v, weight λ. A cold
    video is c_v.

    Where the public code (github.com/weiyinwei/CLCRec) differs: it draws its negatives from all videos in place of the
    batch's other positives, compares by dot products in the first contrast and by cosines in the second (here: cosines
    in both), weighs the two λ and 1 − λ (here 1 and λ), and its L2 is on all of a batch's rows, mentions counted.

    Args:
        graph, more: ``embedding_dim``, ``l2``, ``modalities``: as :class:`ContentTables`.
        hidden: width of the encoder's middle layer.
        temperature: τ of both contrasts.
        mix: ρ.
        align: λ.
        objective: of the first contrast; the in-batch softmax under τ by default.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        hidden: int = 256,
        temperature: float = 0.2,
        mix: float = 0.5,
        align: float = 0.5,
        objective: Objective | None = None,
        **more: Unpack[Tables],
    ) -> None:
        super().__init__(graph, objective or SampledSoftmax(temperature=temperature), **more)
        self.temperature, self.mix, self.align = temperature, mix, align
        self.encoder = nn.Sequential(
            nn.Linear(sum(self.content.dims.values()), hidden), nn.LeakyReLU(), small_linear(hidden, self.dim)
        )

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Unit rows [n, D]: c_v / ‖c_v‖."""
        return F.normalize(self._encode_content(self.content(features)[0]), dim=1)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """Unit rows: user [U, D], video [V, D] (e_v, or c_v for a cold one), or rows of them."""
        content = self._encode_content(self.content.of(graph, rows.video)[0])
        warm = rows.of_videos(warm_videos(graph)).unsqueeze(1)
        video = torch.where(warm, rows.of_videos(pad_rows(self.video, graph.num_videos)), content)
        return Embeddings(F.normalize(rows.of_users(self.user), dim=1), F.normalize(video, dim=1))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``softmax`` (or the terms of another objective), ``align`` and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        own, content = rows.of_videos(self.video), self._encode_content(self.content.of(graph, rows.video)[0])
        swap = torch.rand(len(own), 1, device=own.device) < self.mix
        emb = Embeddings(
            F.normalize(rows.of_users(self.user), dim=1), F.normalize(torch.where(swap, content, own), dim=1)
        )
        terms = self.ranking_loss(graph, emb, rows, at)
        chosen = torch.unique(at.positive)
        align = self.align * info_nce(own[chosen], content[chosen], self.temperature)
        return {**terms, "align": align, "l2": self.penalty(batch, rows)}

    def _encode_content(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(torch.cat(list(x.values()), 1))
