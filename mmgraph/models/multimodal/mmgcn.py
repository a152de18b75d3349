"""MMGCN, in the paper's form: a graph a modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, Multimodal, user_tables
from mmgraph.nn.conv import ModalityConv
from mmgraph.nn.projection import projections
from mmgraph.nn.tables import xavier_table

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class MMGCN(Multimodal):
    """MMGCN as in the paper: one user–video graph a modality, the modalities' results averaged.

    Wei et al., "MMGCN: Multi-modal Graph Convolution Network for Personalized Recommendation of Micro-video",
    ACM MM 2019, https://doi.org/10.1145/3343031.3351034. For modality m, x⁰ = normalise([p_u^m ; W_m f_v^m]), then
    ``num_layers`` of :class:`~mmgraph.nn.ModalityConv`; the layers' last states are averaged over modalities, and
    ŷ = uᵀv. BPR loss, with ½‖·‖² of the id and preference rows of the batch.

    The public code keeps the preference and id tables outside the parameters, so they are never trained;
    here they are. A video without modality m starts as 0 in m's graph.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`.
        num_layers: at least 1.
        concat: the paper's concatenation in place of addition in each layer.
        l2: weight of the L2 term.

    Raises:
        ValueError: no modality to work with.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        concat: bool = False,
        l2: float = 1e-4,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, **more)
        self.l2 = l2
        nodes = graph.num_users + graph.num_videos
        self.identity = xavier_table(nodes, self.dim, normal=True)
        self.preference = user_tables(graph, self.modalities, self.dim)
        self.project = projections(graph, self.modalities, self.dim)
        self.convs = nn.ModuleDict(
            {
                m: nn.ModuleList(ModalityConv(self.dim, self.dim, concat) for _ in range(num_layers))
                for m in self.modalities
            }
        )

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """Mean over modalities: user [U, D], video [V, D], or the rows of them (all that the last layer computes)."""
        adjacency = graph.adjacency("interacts", norm="row")
        stacked = rows.stacked(graph)
        views = []
        for m in self.modalities:
            x = F.normalize(torch.cat([self.preference[m], self.projected(graph, m)]), dim=1)
            *first, last = self.convs[m].children()
            for conv in first:
                x = conv(x, self.identity, adjacency)
            views.append(last(x, self.identity, adjacency, rows=stacked))
        return rows.split(graph, torch.stack(views).mean(0))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        terms = self.ranking_loss(graph, self.encode(graph, rows), rows, at)
        ids = self.identity if (own := rows.stacked(graph)) is None else F.embedding(own, self.identity)
        l2 = embedding_l2(len(batch.user), ids, *(rows.of_users(self.preference[m]) for m in self.modalities))
        return {**terms, "l2": self.l2 * l2}
