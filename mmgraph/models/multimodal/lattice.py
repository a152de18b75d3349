"""LATTICE and MICRO: the graph of like videos is learned along with the recommender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2, info_nce
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, WithIds
from mmgraph.nn.fusion import SoftmaxFusion, present_weights, similar
from mmgraph.nn.item_graph import like_edges, row_normalised
from mmgraph.nn.projection import projections
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class LATTICE(WithIds):
    """LATTICE: videos gather over a graph of like videos, a mixture of their features' and a learned one.

    Zhang et al., "Mining Latent Structures for Multimedia Recommendation", ACM MM 2021,
    https://arxiv.org/abs/2104.09036. A = (1 − λ) N(Σ_m w_m kNN(P_m f_m)) + λ Σ_m w_m N(kNN(f_m)), w a softmax of a
    scalar a modality, over those a video has;  h = A e_v;  video = LightGCN + h/‖h‖, user = LightGCN. BPR and L2.

    kNN(f_m) are the ``similar_<m>`` edges, ``transforms=(ModalityKNN("visual", 10, loops=True), …)``. The learned graph
    is built in each step, as the paper has it; its public code builds it in the first batch of an epoch and holds it
    fixed after, so that P and w get one gradient an epoch, and trains the raw features.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`; must have the
            ``similar_<m>`` edges.
        num_layers: of LightGCN.
        raw: λ.
        k: neighbours in the learned graph.
        feature_dim: width of P_m f_m.
        l2: weight of ½‖the batch's rows‖² / B.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        raw: float = 0.9,
        k: int = 10,
        feature_dim: int = 64,
        l2: float = 1e-4,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, num_layers=num_layers, **more)
        self.raw, self.k, self.l2 = raw, k, l2
        for m in self.modalities:
            similar(graph, m)
        self.project = projections(graph, self.modalities, feature_dim)
        self._make_fusion(self.dim)

    def _make_fusion(self, dim: int) -> None:
        self.weight = nn.Parameter(torch.zeros(len(self.modalities))) if len(self.modalities) > 1 else None

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        return self._joined(graph, rows, self.alike(graph))

    def _joined(self, graph: MultimodalGraph, rows: Rows, alike: Tensor) -> Embeddings:
        user, video = rows.split(graph, self.propagated(graph, rows))
        return Embeddings(user, video + F.normalize(rows.of_videos(alike), dim=1))

    def alike(self, graph: MultimodalGraph) -> Tensor:
        """h = A e_v, [V, D]."""
        present = torch.stack([graph.features(m).present for m in self.modalities], 1)
        weights = present_weights(self.weight, present)
        fixed, edges = [], []
        for i, m in enumerate(self.modalities):
            fixed.append(weights[:, i : i + 1] * spmm(similar(graph, m), self.video))
            target, source, cosine = self.edges(graph, m)
            edges.append((target, source, cosine * weights[target, i]))
        target, source, weight = (torch.cat(part) for part in zip(*edges, strict=True))
        learned = row_normalised(target, source, weight, graph.num_videos)
        return self.raw * torch.stack(fixed).sum(0) + (1 - self.raw) * spmm(learned, self.video)

    def edges(self, graph: MultimodalGraph, modality: str) -> tuple[Tensor, Tensor, Tensor]:
        """The learned neighbours of one modality."""
        feature = graph.features(modality)
        return like_edges(self.project[modality](feature.values), feature.present, self.k)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        return self._terms(graph, batch, self.alike(graph))

    def _terms(self, graph: MultimodalGraph, batch: PairBatch, alike: Tensor) -> dict[str, Tensor]:
        rows, at = batch_rows(batch, self.objective)
        emb = self._joined(graph, rows, alike)
        return {**self.ranking_loss(graph, emb, rows, at), "l2": self.l2 * embedding_l2(len(batch.user), *emb)}


class MICRO(LATTICE):
    """MICRO: LATTICE with a graph a modality, fused by attention, and each modality contrasted with the fusion.

    Zhang et al., "Latent Structure Mining with Contrastive Modality Fusion for Multimedia Recommendation", TKDE 2022,
    https://arxiv.org/abs/2111.00678. h_m = A_m e_v;  h = Σ_m softmax_m(qᵀ tanh(W h_m)) h_m over those present; loss +
    β Σ_m InfoNCE(h_m, h), negatives all videos of either view. The public code draws an epoch of users rather than of
    interactions.

    Args:
        graph, l2, more: as :class:`LATTICE`.
        contrast: β.
        temperature: τ.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        l2: float = 1e-5,
        contrast: float = 0.03,
        temperature: float = 0.5,
        **more: Any,
    ) -> None:
        super().__init__(graph, l2=l2, **more)
        self.contrast, self.temperature = contrast, temperature

    def _make_fusion(self, dim: int) -> None:
        self.fuse = SoftmaxFusion(dim) if len(self.modalities) > 1 else None

    def views(self, graph: MultimodalGraph) -> dict[str, Tensor]:
        """h_m of each modality, [V, D]."""
        out = {}
        for m in self.modalities:
            learned = spmm(row_normalised(*self.edges(graph, m), graph.num_videos), self.video)
            out[m] = self.raw * spmm(similar(graph, m), self.video) + (1 - self.raw) * learned
        return out

    def alike(self, graph: MultimodalGraph) -> Tensor:
        """h, [V, D]."""
        return self._fused(graph, self.views(graph))

    def _fused(self, graph: MultimodalGraph, views: dict[str, Tensor]) -> Tensor:
        if self.fuse is None:
            return views[self.modalities[0]]
        return self.fuse(views, {m: graph.features(m).present for m in views})

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """:class:`LATTICE`'s terms and, with two modalities, ``contrast``."""
        views = self.views(graph)
        fused = self._fused(graph, views)
        terms = self._terms(graph, batch, fused)
        if self.fuse is not None:
            chosen, each = batch.positive.unique(), []
            for m, h in views.items():
                rows = chosen[graph.features(m).present[chosen]]
                each.append(info_nce(h[rows], fused[rows], self.temperature, intra=True))
            terms["contrast"] = self.contrast * torch.stack(each).sum()
        return terms
