"""MGCN: content purified by the id, gathered over like videos, and fused by what a user prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Unpack

import torch
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.collaborative.contrastive import agreement
from mmgraph.models.multimodal.base import Common, WithIds
from mmgraph.nn.fusion import Purifier, SoftmaxFusion, similar, user_presence, users_of
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import EdgeType, MultimodalGraph


class MGCN(WithIds):
    """MGCN: ids propagated over who watched what, plus a side view made of purified content.

    Yu et al., "Multi-View Graph Convolutional Network for Multimedia Recommendation", ACM MM 2023,
    https://arxiv.org/abs/2308.03588. x_m = e_v ⊙ σ(G_m P_m f_m);  h_m = S_m x_m for videos, R̂ h_m for users;
    c = Σ_m softmax_m(qᵀ tanh(W h_m)) h_m;  e = mean of the layers of LightGCN;
    side = ( Σ_m σ(W_m e) ⊙ (h_m − c) + c ) / (M + 1);  z = e + side. Loss: BPR + L2 + β (InfoNCE(side, e) of users and
    of videos). S_m are the ``similar_<m>`` edges: ``transforms=(ModalityKNN("visual", 10, loops=True), …)``.

    A modality that a video lacks leaves its softmax, and gives no term to its side; the public code divides by 3
    whatever M, and trains the raw features, which stay as they are here.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`; must have the
            ``similar_<m>`` edges.
        num_layers: of LightGCN.
        contrast: β.
        temperature: τ.
        l2: weight of ½‖the batch's rows‖² / B.

    Raises:
        ValueError: no modality to work with, or one without its ``similar_`` edges.
    """

    edges: ClassVar[Sequence[EdgeType | str]] = ("interacts",)

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        contrast: float = 0.01,
        temperature: float = 0.2,
        l2: float = 1e-4,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, num_layers=num_layers, **more)
        self.contrast, self.temperature, self.l2 = contrast, temperature, l2
        for m in self.modalities:
            similar(graph, m)
        self.purify = nn.ModuleDict({m: Purifier(graph.feature_dims[m], self.dim, m) for m in self.modalities})
        self.prefer = nn.ModuleDict({m: nn.Linear(self.dim, self.dim) for m in self.modalities})
        self.fuse = SoftmaxFusion(self.dim)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        ids, side = self.views(graph, rows)
        return rows.split(graph, ids + side)

    def views(self, graph: MultimodalGraph, rows: Rows = ALL) -> tuple[Tensor, Tensor]:
        """e and side, users first and videos after them, at the rows."""
        ids = self.propagated(graph, rows, self.edges)
        content = {m: self._content(graph, m) for m in self.modalities}
        return ids, self.side(ids, *gathered(graph, content, self.modalities, rows))

    def _content(self, graph: MultimodalGraph, modality: str) -> Tensor:
        feature = graph.features(modality)
        return self.purify[modality](self.video, feature.values, feature.present)

    def side(self, ids: Tensor, views: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """The fused side view [n, D]."""
        common = self.fuse(views, present)
        parts = [torch.sigmoid(self.prefer[m](ids)) * (h - common) * present[m].unsqueeze(1) for m, h in views.items()]
        return (torch.stack(parts).sum(0) + common) / (len(views) + 1)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``), ``contrast`` and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        ids, side = self.views(graph, rows)
        emb = rows.split(graph, ids + side)
        terms = self.ranking_loss(graph, emb, rows, at)
        beside, own = rows.split(graph, side), rows.split(graph, ids)
        terms["contrast"] = self.contrast * agreement(beside, own, at, self.temperature)
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), *emb)}


def gathered(
    graph: MultimodalGraph, content: Mapping[str, Tensor], modalities: Sequence[str], rows: Rows
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Content [V, D] gathered over like videos, and from them to the users: modality -> [n, D] and its presence [n].

    Args:
        graph: gives the ``similar_<name>`` edges and who watched what.
        content: name -> [V, D].
        modalities: whose features say where a name is present; a name beyond them is present where any is.
        rows: users first, videos after them.
    """
    views, present = {}, {}
    here = {m: graph.features(m).present for m in modalities}
    here |= {name: torch.stack(list(here.values())).any(0) for name in content if name not in here}
    for name, x in content.items():
        video = spmm(similar(graph, name), x)
        user = spmm(users_of(graph), video, rows=rows.user)
        views[name] = torch.cat([user, rows.of_videos(video)])
        present[name] = torch.cat([user_presence(graph, here[name], rows.user), rows.of_videos(here[name])])
    return views, present
