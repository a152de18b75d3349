"""GUME: like videos joined to the graph of who watched what, and users with a modal self."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2, info_nce, moment_alignment
from mmgraph.models.base import Embeddings, Rows, batch_rows
from mmgraph.models.collaborative.contrastive import agreement
from mmgraph.models.multimodal.mgcn import MGCN
from mmgraph.nn.propagation import layers, noisy
from mmgraph.nn.tables import xavier_table

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class GUME(MGCN):
    """GUME: MGCN on a graph that also joins videos whose modalities agree; users have a table for content too.

    Lin et al., "GUME: Graphs and User Modalities Enhancement for Long-Tail Multimedia Recommendation", CIKM 2024,
    https://arxiv.org/abs/2407.12338. e = LightGCN on ``interacts`` and ``similar_agree`` edges (``JoinKNN("agree",
    "agree")``), which reach the tail; MGCN's side view; extended user content u⁺ = LightGCN of [U_m ; h_m], averaged
    over modalities. Loss: BPR + L2 + bm · InfoNCE(side, e) + um · ( InfoNCE(u⁺, side) + InfoNCE of two noisy u⁺ ) + vt
    · Σ_pairs of |Δmean| + |Δvar| of the modalities' video rows + .1 ‖u⁺‖² / B. Scores: e + side. The public code asks
    for agreement of both lists of two modalities; with more, of at least two.

    Args:
        graph: as :class:`MGCN`; must have ``similar_agree`` edges too.
        num_layers, l2, more: as :class:`MGCN`, whose ``contrast`` is bm.
        user: um.
        user_temperature: its τ.
        moments: vt.
        noise: length of the noise.
    """

    edges = ("interacts", ("video", "similar_agree", "video"))

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 3,
        user: float = 0.01,
        user_temperature: float = 0.1,
        moments: float = 0.01,
        noise: float = 0.1,
        l2: float = 1e-5,
        **more: Any,
    ) -> None:
        super().__init__(graph, num_layers=num_layers, l2=l2, **more)
        if ("video", "similar_agree", "video") not in graph.edge_types:
            raise ValueError('GUME reads "similar_agree" edges: apply JoinKNN("agree", "agree") first')
        self.user_weight, self.user_temperature, self.moments, self.noise = user, user_temperature, moments, noise
        self.extended = nn.ParameterDict({m: xavier_table(graph.num_users, self.dim) for m in self.modalities})

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """MGCN's terms, ``user``, ``moments`` and ``extended``."""
        rows, at = batch_rows(batch, self.objective)
        ids, side = self.views(graph, rows)
        emb, own, beside = (rows.split(graph, t) for t in (ids + side, ids, side))
        terms = self.ranking_loss(graph, emb, rows, at)
        terms["contrast"] = self.contrast * agreement(beside, own, at, self.temperature)
        content = {m: self._content(graph, m) for m in self.modalities}
        plain, first, second = (self._extended(graph, content, rows, draw) for draw in (False, True, True))
        terms["user"] = self.user_weight * (
            info_nce(plain.user, beside.user, self.user_temperature)
            + info_nce(first.user, second.user, self.user_temperature)
        )
        present = [x[graph.features(m).present] for m, x in content.items()]
        pairs = [moment_alignment(a, b) for a, b in combinations(present, 2)]
        if pairs:
            terms["moments"] = self.moments * torch.stack(pairs).mean()
        terms["extended"] = 0.1 * embedding_l2(len(batch.user), plain.user)
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), *emb)}

    def _extended(self, graph: MultimodalGraph, content: dict[str, Tensor], rows: Rows, draw: bool) -> Embeddings:
        """u⁺ at the rows, mean over modalities and layers; with noise in each layer under ``draw``."""
        adjacency, refine = graph.adjacency("interacts"), noisy(self.noise) if draw else None
        out = []
        for m, x in content.items():
            states = layers(adjacency, torch.cat([self.extended[m], x]), 2, refine, rows.stacked(graph))
            out.append(sum(states) / len(states))
        return rows.split(graph, torch.stack(out).mean(0))
