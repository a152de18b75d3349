"""LGMRec: local graphs of clicks and content, and global hyperedges of shared taste."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.collaborative.contrastive import agreement
from mmgraph.models.multimodal.base import Common, WithIds
from mmgraph.nn.fusion import users_of
from mmgraph.nn.projection import projections
from mmgraph.nn.propagation import last_layer
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class LGMRec(WithIds):
    """LGMRec: ids and content over the click graph, and hyperedges that join users and videos of a trait.

    Guo et al., "LGMRec: Local and Global Graph Learning for Multimodal Recommendation", AAAI 2024,
    https://arxiv.org/abs/2312.16400. cge = LightGCN of the ids; mge_m = Â^L [mean of the watched f_m W_m ; f_m W_m];
    hyperedges H_v = softmax(f_m V_m/τ), H_u = softmax(X f_m V_m/τ) with Gumbel noise in training; ghe_m = H H_vᵀ cge_v,
    dropout on H;  z = cge + Σ_m mge_m/‖·‖ + α ghe/‖ghe‖, ghe = Σ_m ghe_m. BPR + L2 + c Σ InfoNCE between the
    modalities' ghe.

    The public code draws Gumbel noise at test too, anew for each batch that is ranked: ``as_coded`` does (and so its
    lists are random); here a ranking is a function of the weights. A video that lacks m is in none of m's hyperedges.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`.
        num_layers: of LightGCN.
        content_layers: L.
        hyperedges: how many a modality.
        hyper_layers: how often ghe is passed through the hyperedges.
        hyper: α.
        dropout: of H.
        temperature: τ of the hyperedges.
        contrast: c.
        contrast_temperature: of the InfoNCE.
        l2: weight of ½‖the batch's rows‖² / B.
        as_coded: as above.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        content_layers: int = 2,
        hyperedges: int = 4,
        hyper_layers: int = 1,
        hyper: float = 0.3,
        dropout: float = 0.5,
        temperature: float = 0.2,
        contrast: float = 1e-4,
        contrast_temperature: float = 0.2,
        l2: float = 1e-6,
        as_coded: bool = False,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, num_layers=num_layers, **more)
        self.content_layers, self.hyper_layers, self.hyper = content_layers, hyper_layers, hyper
        self.dropout, self.temperature, self.as_coded = nn.Dropout(dropout), temperature, as_coded
        self.contrast, self.contrast_temperature, self.l2 = contrast, contrast_temperature, l2
        self.project = projections(graph, self.modalities, self.dim, bias=False)
        self.trait = projections(graph, self.modalities, hyperedges, bias=False)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        return self._encode(graph, rows)[0]

    def _encode(self, graph: MultimodalGraph, rows: Rows) -> tuple[Embeddings, list[Embeddings]]:
        adjacency, ids = graph.adjacency("interacts"), self.propagated(graph)
        content, globe = 0.0, []
        own = ids.split([graph.num_users, graph.num_videos])
        for m in self.modalities:
            feature = graph.features(m)
            here = feature.present.unsqueeze(1)
            video = self.project[m](feature.values) * here
            user = spmm(graph.seen, video) / graph.seen.degree().clamp_min(1).unsqueeze(1)
            out = last_layer(adjacency, torch.cat([user, video]), self.content_layers)
            content = content + F.normalize(out, dim=1)
            traits = self.trait[m](feature.values) * here
            of_video = self._hyperedges(traits) * here
            of_user = self._hyperedges(spmm(users_of(graph), traits))
            videos = own[1]
            for _ in range(self.hyper_layers):
                shared = of_video.T @ videos  # [hyperedges, D]
                videos = of_video @ shared
            globe.append(Embeddings(rows.of_users(of_user) @ shared, rows.of_videos(videos)))
        local = rows.of(*(ids + content).split([graph.num_users, graph.num_videos]))
        joint = Embeddings(*(torch.stack(parts).sum(0) for parts in zip(*globe, strict=True)))
        added = [x + self.hyper * F.normalize(g, dim=1) for x, g in zip(local, joint, strict=True)]
        return Embeddings(*added), globe

    def _hyperedges(self, traits: Tensor) -> Tensor:
        if self.training or self.as_coded:
            traits = traits - torch.log(-torch.log(torch.rand_like(traits).clamp(1e-10, 1 - 1e-7)))
        return self.dropout((traits / self.temperature).softmax(1))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``), ``l2`` and, with two modalities, ``contrast``."""
        rows, at = batch_rows(batch, self.objective)
        emb, globe = self._encode(graph, rows)
        terms = self.ranking_loss(graph, emb, rows, at)
        each = [agreement(a, b, at, self.contrast_temperature) for a, b in combinations(globe, 2)]
        if each:
            terms["contrast"] = self.contrast * torch.stack(each).sum()
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), *emb)}
