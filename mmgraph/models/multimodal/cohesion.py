"""COHESION: content fused with the id before it propagates, and a loss that watches the weakest block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Multimodal, user_tables
from mmgraph.models.multimodal.dualgnn import two_layers
from mmgraph.nn.fusion import from_alike, like_minded, similar
from mmgraph.nn.propagation import by_likeness, layers
from mmgraph.nn.tables import xavier_table
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class COHESION(Multimodal):
    """COHESION: early fusion of id and content, refined layers, like videos and like-minded users, and an adaptive BPR.

    Xu et al., "COHESION: Composite Graph Convolutional Network with Dual-Stage Fusion for Multimodal Recommendation",
    SIGIR 2025, https://arxiv.org/abs/2504.04452. x_m = sqrt((id² + f_m²)/2), f_m = MLP_m f, |id| where m is absent; for
    each block b of {id, m}: Σ_l cos(Âh, h⁰) Âh from [p_b ; x_b]; video = [blocks] + S [blocks] (``similar_<m>`` edges),
    user = [blocks] + Σ_j a_uj [blocks]_j (``co_watched``). Loss −ln σ( Σ_b (1 − softmax_b(Δ_b)) Δ_b ), Δ_b = ŷ_ui −
    ŷ_uj of the block: the block that tells the pair apart least counts most.

    In the public code the id block is read through ``.data``, so that neither it nor its preferences are trained, yet
    they are a third of the score: ``as_coded`` detaches it too.

    Args:
        graph: gives U, V and the features' widths; must have ``similar_<m>`` and ``co_watched`` edges
            (``ModalityKNN``, ``UserCoInteraction``).
        embedding_dim: D, a block.
        num_layers: L.
        l2: weight of ½‖the batch's preferences‖² / B.
        as_coded: as above.
        modalities: which to use; all of the graph's by default.

    Raises:
        ValueError: no modality, or a graph without ``similar_<m>`` or ``co_watched`` edges.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        l2: float = 1e-4,
        as_coded: bool = False,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__(graph, embedding_dim=embedding_dim, modalities=modalities)
        self.num_layers, self.l2, self.as_coded = num_layers, l2, as_coded
        like_minded(graph)
        for m in self.modalities:
            similar(graph, m)
        self.preference = user_tables(graph, ("id", *self.modalities), embedding_dim)
        self.video = xavier_table(graph.num_videos, embedding_dim, normal=True)
        widths = {m: graph.feature_dims[m] for m in self.modalities}
        self.project = nn.ModuleDict({m: two_layers(m, w, embedding_dim) for m, w in widths.items()})

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, (M + 1) D], video [V, (M + 1) D], or rows of them."""
        blocks, adjacency = [], graph.adjacency("interacts")
        for b in ("id", *self.modalities):
            x = torch.cat([self.preference[b], self._block(graph, b)])
            x = x.detach() if self.as_coded and b == "id" else x
            blocks.append(torch.stack(layers(adjacency, x, self.num_layers, by_likeness)[1:]).sum(0))
        user, video = torch.cat(blocks, 1).split([graph.num_users, graph.num_videos])
        alike = from_alike(graph, self.modalities, video, rows.video)
        near = spmm(like_minded(graph), user, rows=rows.user)
        return Embeddings(rows.of_users(user) + near, rows.of_videos(video) + alike)

    def _block(self, graph: MultimodalGraph, block: str) -> Tensor:
        """x_b, [V, D]."""
        if block == "id":
            return self.video
        feature = graph.features(block)
        content = self.project[block](feature.values)
        fused = ((self.video.square() + content.square()) / 2).clamp_min(1e-12).sqrt()
        return torch.where(feature.present.unsqueeze(1), fused, self.video.abs())

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``bpr`` and ``l2``."""
        rows, at = batch_rows(batch)
        emb = self.encode(graph, rows)
        user, video = (t.unflatten(1, (-1, self.dim)) for t in emb)  # [n, M + 1, D]
        scores = (video[at.candidates] * user[at.user].unsqueeze(1)).sum(-1)  # [B, 1 + N, M + 1]
        gap = scores[:, :1] - scores[:, 1:]
        weight = 1 - gap.softmax(-1)
        tables = [rows.of_users(p) for p in self.preference.values()]
        return {
            "bpr": F.softplus(-(weight * gap).sum(-1)).mean(),
            "l2": self.l2 * embedding_l2(len(batch.user), *tables),
        }
