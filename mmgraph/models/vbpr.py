"""VBPR: matrix factorisation with a second half of the embedding read off the videos' content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import Embeddings, Recommender, Rows, batch_rows, chosen_modalities
from mmgraph.models.objective import pair_terms
from mmgraph.nn.heads import DotHead, Head

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class VBPR(Recommender):
    """VBPR: ŷ_uv = γ_uᵀ γ_v + θ_uᵀ E f_v + β_v + β'ᵀ f_v, trained by BPR.

    He and McAuley, "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", AAAI 2016,
    https://arxiv.org/abs/1510.01784. As one dot product: a user is [γ_u ; θ_u ; 1], a video
    [γ_v ; E f_v ; β_v + β'ᵀ f_v], each of width 2D + 1. With several modalities f_v is all of them side by side; one
    that a video lacks counts as 0.

    The users' biases and the global one, which the paper prints too, cancel in BPR and are left out. The L2 counts
    each row of the batch once; E and β' have none.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D, of either half.
        l2: weight of ½‖γ, θ, β of the batch‖² / B.
        modalities: which to read; all of the graph's by default.
        head: a head other than the dot product.

    Raises:
        ValueError: no modality to work with.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        l2: float = 1e-4,
        modalities: Sequence[str] | None = None,
        head: Head | None = None,
    ) -> None:
        super().__init__(head)
        self.modalities, self.l2 = chosen_modalities(graph, modalities), l2
        self.user = nn.Parameter(nn.init.xavier_normal_(torch.empty(graph.num_users, 2 * embedding_dim)))
        self.video = nn.Parameter(nn.init.xavier_normal_(torch.empty(graph.num_videos, embedding_dim)))
        self.bias = nn.Parameter(torch.zeros(graph.num_videos, 1))
        # E and, as one more output, β': the features are read once for both
        widths = {m: graph.feature_dims[m] for m in self.modalities}
        self.project = nn.ModuleDict({m: nn.Linear(w, embedding_dim + 1, bias=False) for m, w in widths.items()})

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """User [U, 2D + 1], video [V, 2D + 1], or the given rows; only these videos' features are read."""
        users, videos = (None, None) if rows is None else rows
        content = torch.stack([self.project[m](_rows(graph.features(m).values, videos)) for m in self.modalities]).sum(
            0
        )
        tail = content[:, -1:] + _rows(self.bias, videos)
        video = torch.cat([_rows(self.video, videos), content[:, :-1], tail], 1)
        return Embeddings(F.pad(_rows(self.user, users), (0, 1), value=1.0), video)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The head's terms (``bpr`` for the dot product) and ``l2``."""
        rows, at = batch_rows(batch)
        own = _rows(self.user, rows.user), _rows(self.video, rows.video), _rows(self.bias, rows.video)
        l2 = self.l2 * embedding_l2(*own) * (len(rows.user) / len(batch.user))
        if not isinstance(self.head, DotHead) or batch.negative.shape[1] > 1:
            return {**pair_terms(self, self.encode(graph, rows), at), "l2": l2}
        # ŷ_ui − ŷ_uj reads E(f_i − f_j) alone: one product a pair in place of one a video
        user, video, bias = own
        positive, negative = batch.positive, batch.negative[:, 0]
        values = {m: graph.features(m).values for m in self.modalities}
        each = [self.project[m](_rows(v, positive).sub_(_rows(v, negative))) for m, v in values.items()]
        content = torch.stack(each).sum(0)
        apart = torch.cat([video, bias], 1)
        apart = F.embedding(at.positive, apart) - F.embedding(at.negative[:, 0], apart)
        factors = torch.cat([apart[:, :-1], content[:, :-1]], 1)
        gap = torch.linalg.vecdot(F.embedding(at.user, user), factors) + apart[:, -1] + content[:, -1]
        return {"bpr": F.softplus(-gap).mean(), "l2": l2}


def _rows(table: Tensor, rows: Tensor | None) -> Tensor:
    return table if rows is None else F.embedding(rows, table)
