"""FREEDOM: a frozen graph of alike videos beside a user–video graph whose edges are thinned at each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import ALL, ByColumns, Embeddings, Rows, batch_rows, distinct
from mmgraph.models.multimodal.base import Common, WithIds
from mmgraph.nn.projection import projections
from mmgraph.nn.propagation import last_layer
from mmgraph.nn.tables import xavier_table
from mmgraph.ops import propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import EdgeType, MultimodalGraph


class FREEDOM(WithIds):
    """FREEDOM: LightGCN on the user–video graph plus propagation over a frozen kNN graph of the videos' features.

    Zhou and Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal Recommendation",
    ACM MM 2023, https://arxiv.org/abs/2211.06924. u = mean of the layers of LightGCN; v the same plus S^L e_v, S the
    ``similar_<modality>`` edges of all modalities together. L = L_bpr(u, v) + λ Σ_m L_bpr(u, W_m f_v^m).

    Both graphs come from transforms, none is kept here. S, with a ``share`` a modality (.1 of pictures and .9 of text
    in the paper; its public code counts a video among its k)::

        transforms=(ModalityKNN("visual", 9, "binary", loops=True, share=0.1), …)
        epoch_transforms=(EdgeDrop(0.8, degree_sensitive=True),)

    The second keeps edges with chances ∝ 1/sqrt(d_u d_v) while training; at test the graph is whole. Unlike the public
    code, features stay as they are (there they are trained too); a pair lacking a modality is left out of its term.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective`` (of L_bpr(u, v)): as
            :class:`Multimodal`; must have the ``similar_<modality>`` edges.
        num_layers: of the user–video graph.
        num_similar_layers: L.
        content: λ; 0 leaves the terms out.
        edge_types: what the user–video graph is made of; ``("interacts", ("video", "belongs_to", "tag"))`` reads tags.

    Raises:
        ValueError: no modality to work with, or one without its ``similar_`` edges.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        num_similar_layers: int = 1,
        content: float = 1e-3,
        edge_types: Sequence[EdgeType | str] = ("interacts",),
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, num_layers=num_layers, **more)
        self.num_similar_layers, self.content = num_similar_layers, content
        self.similar = [("video", f"similar_{m}", "video") for m in self.modalities]
        if missing := [r for _, r, _ in self.similar if ("video", r, "video") not in graph.edge_types]:
            raise ValueError(f"FREEDOM reads {missing}, which this graph lacks: apply ModalityKNN first")
        self.edge_types = list(edge_types)
        types = [t for t in graph.offsets(self.edge_types) if t not in ("user", "video")]
        self.entity = nn.ParameterDict({t: xavier_table(int(graph[t].num_nodes), self.dim) for t in types})
        # no bias: it would cancel in BPR
        self.project = projections(graph, self.modalities if content else [], self.dim, bias=False)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """User [U, D], video [V, D], or the rows of them (all that the last layer of either graph computes)."""
        every = torch.cat([self.user, self.video, *self.entity.values()])
        adjacency = graph.adjacency(self.edge_types, norm="sym")
        user, video = rows.split(graph, propagate(adjacency, every, self.num_layers, rows=rows.stacked(graph)))
        alike = graph.adjacency(self.similar, norm=None)
        near = last_layer(alike, self.video, self.num_similar_layers, rows.video)
        return Embeddings(user, video + near)

    def by_columns(self) -> ByColumns:
        """The tables, and the projections into their columns."""
        entities = {f"entity.{name}": 1 for name in self.entity}
        projections = {f"project.{m}.weight": 0 for m in self.project}
        tables = {"user": 1, "video": 1, **entities, **projections}
        return ByColumns(tables, matrices=((self.edge_types, "sym"), (self.similar, None)))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and, with λ > 0, ``content``."""
        rows, at = batch_rows(batch, self.objective)
        emb = self.encode(graph, rows)
        terms = self.ranking_loss(graph, emb, rows, at)
        if self.content:
            each = [self._content_bpr(graph, m, emb.user[at.user], batch) for m in self.modalities]
            terms["content"] = self.content * torch.stack(each).sum()
        return terms

    def _content_bpr(self, graph: MultimodalGraph, modality: str, user: Tensor, batch: PairBatch) -> Tensor:
        """BPR of the users [B, D] against the projected features, over the pairs that have both."""
        if not batch.negative.shape[-1]:
            raise ValueError("FREEDOM's content term compares pairs: take an objective with negatives, or content=0")
        feature, negative = graph.features(modality), batch.negative.expand(len(batch.user), -1)
        positive, project, products = batch.positive.unsqueeze(1), self.project[modality], self.head.products
        if negative.shape[1] == 1:  # W f_j − W f_i = W (f_j − f_i): one product a pair
            apart = F.embedding(negative, feature.values).sub_(F.embedding(positive, feature.values))
            gap = products.dot(user, project(apart))
        else:
            videos, place = distinct(torch.cat([positive, negative], 1))
            scores = products.dot_at(user, project(F.embedding(videos, feature.values)), place)
            gap = scores[:, 1:] - scores[:, :1]
        both = feature.present[positive] & feature.present[negative]
        return (F.softplus(gap) * both).sum() / both.sum().clamp_min(1)
