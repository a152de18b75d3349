"""VBPR: matrix factorisation with a second half of the embedding read off the videos' content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, Multimodal
from mmgraph.nn.projection import projections
from mmgraph.nn.tables import xavier_table

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class VBPR(Multimodal):
    """VBPR: ŷ_uv = γ_uᵀ γ_v + θ_uᵀ E f_v + β_v + β'ᵀ f_v, trained by BPR.

    He and McAuley, "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", AAAI 2016,
    https://arxiv.org/abs/1510.01784. As one dot product: a user is [γ_u ; θ_u ; 1], a video
    [γ_v ; E f_v ; β_v + β'ᵀ f_v], each of width 2D + 1. With several modalities f_v is all of them side by side; one
    that a video lacks counts as 0.

    The users' biases and the global one, which the paper prints too, cancel in BPR and are left out. The L2 counts
    each row of the batch once; E and β' have none.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`.
        l2: weight of ½‖γ, θ, β of the batch‖² / B.

    Raises:
        ValueError: no modality to work with.
    """

    def __init__(self, graph: MultimodalGraph, *, l2: float = 1e-4, **more: Unpack[Common]) -> None:
        super().__init__(graph, **more)
        self.l2 = l2
        self.user = xavier_table(graph.num_users, 2 * self.dim, normal=True)
        self.video = xavier_table(graph.num_videos, self.dim, normal=True)
        self.bias = nn.Parameter(torch.zeros(graph.num_videos, 1))
        # E and, as one more output, β': the features are read once for both
        self.project = projections(graph, self.modalities, self.dim + 1, bias=False)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """User [U, 2D + 1], video [V, 2D + 1], or the given rows; only these videos' features are read."""
        return self._joined(graph, rows, *self._tables(rows))

    def _tables(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Tables of users and videos and the bias, at the rows."""
        return rows.of_users(self.user), rows.of_videos(self.video), rows.of_videos(self.bias)

    def _joined(self, graph: MultimodalGraph, rows: Rows, user: Tensor, video: Tensor, bias: Tensor) -> Embeddings:
        read = [self.project[m](rows.of_videos(graph.features(m).values)) for m in self.modalities]
        content = torch.stack(read).sum(0)
        video = torch.cat([video, content[:, :-1], content[:, -1:] + bias], 1)
        return Embeddings(F.pad(user, (0, 1), value=1.0), video)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        tables = self._tables(rows)
        terms = self.ranking_loss(graph, self._joined(graph, rows, *tables), rows, at)
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), *tables)}
