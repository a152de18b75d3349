"""NeuMF: neural collaborative filtering on raw embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Recommender, Rows, batch_rows
from mmgraph.nn.heads import NCFHead
from mmgraph.nn.tables import normal_table
from mmgraph.objectives import BCE, Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class NeuMF(Recommender):
    """NeuMF: ŷ_uv = hᵀ[ p^G_u ⊙ q^G_v ; MLP(p^M_u ‖ q^M_v) ], binary cross-entropy with sampled negatives.

    He et al., "Neural Collaborative Filtering", WWW 2017, https://arxiv.org/abs/1708.05031. Two tables a side, one for
    each path: rows of ``encode`` are [p^G ‖ p^M]. The MLP is 2D → 256 → 128 with ReLU; the paper halves at each layer
    from a width it tunes, and pre-trains both paths apart, which we do not. A tuned dot product beats it (Rendle et
    al., RecSys 2020, https://arxiv.org/abs/2005.09683): compare with :class:`BPRMF` first.

    Args:
        graph: gives U and V.
        embedding_dim: D of each table.
        hidden: widths of the MLP.
        l2: weight of ½‖the batch's rows‖² / B.
        objective: one other than binary cross-entropy with 4 negatives a positive.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        hidden: Sequence[int] = (256, 128),
        l2: float = 1e-5,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(NCFHead(embedding_dim, hidden, shared=False), objective or BCE(negatives=4))
        self.l2 = l2
        self.user = normal_table(graph.num_users, 2 * embedding_dim)
        self.video = normal_table(graph.num_videos, 2 * embedding_dim)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """The tables: user [U, 2D], video [V, 2D], or rows of them."""
        return rows.of(self.user, self.video)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``bce`` and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        emb = self.encode(graph, rows)
        return {**self.ranking_loss(graph, emb, rows, at), "l2": self.l2 * embedding_l2(len(batch.user), *emb)}
