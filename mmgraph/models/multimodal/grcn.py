"""GRCN: edges weighed by how well a video's content fits its user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, Multimodal, user_tables
from mmgraph.nn.projection import projections
from mmgraph.nn.tables import xavier_table
from mmgraph.ops import attend, edge_dot, segment_softmax, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class GRCN(Multimodal):
    """GRCN: users' prototypes by routing over their videos' content; edges pruned softly by affinity; ids propagated.

    Wei et al., "Graph-Refined Convolutional Network for Multimedia Recommendation with Implicit Feedback", ACM MM 2020,
    https://arxiv.org/abs/2008.10294. For modality m: f = n(LReLU(P_m f_m)), p_u = n(preference); ``routings`` times
    p ← n(p + Σ_v α_uv f_v), α a softmax of pᵀf over the user's videos;  x = [p ; f], X_m = x + LReLU(Σ_j α_ij x_j) over
    both directions. An edge j → i weighs relu(max_m α_ij^m c_jm), c a learned confidence of the sender; id = e + A_w e
    + A_w² e; z = [id ‖ X_m …], (M + 1) D wide. BPR + λ (mean id² + mean preference²).

    In the public code all edges of the routing point at videos, so that the users' rows receive nothing and the routing
    leaves them where they were: ``as_coded``. A modality that the video of an edge lacks does not enter its maximum.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`.
        routings: as above.
        l2: λ.
        as_coded: as above.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        routings: int = 3,
        l2: float = 1e-4,
        as_coded: bool = False,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, **more)
        self.routings, self.l2 = 0 if as_coded else routings, l2
        nodes = graph.num_users + graph.num_videos
        self.identity = xavier_table(nodes, self.dim, normal=True)
        self.confidence = nn.Parameter(nn.init.xavier_normal_(torch.rand(nodes, len(self.modalities))).abs_())
        self.preference = user_tables(graph, self.modalities, self.dim)
        self.project = projections(graph, self.modalities, self.dim)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, (M + 1) D], video [V, (M + 1) D], or rows of them."""
        both = graph.adjacency("interacts", norm=None)
        sender, receiver = both.indices.long(), both.row_indices().long()
        content, best = [], None
        for i, m in enumerate(self.modalities):
            feature = graph.features(m)
            here = feature.present.unsqueeze(1)
            video = F.normalize(F.leaky_relu(self.project[m](feature.values)), dim=1) * here
            user = F.normalize(self.preference[m], dim=1)
            for _ in range(self.routings):
                user = F.normalize(user + attend(graph.seen, edge_dot(graph.seen, user, video), video), dim=1)
            x = torch.cat([user, video])
            affinity = edge_dot(both, x, x)
            content.append(x + F.leaky_relu(attend(both, affinity, x)))
            weight = segment_softmax(both, affinity) * self.confidence[sender, i]
            of_users = torch.ones(graph.num_users, dtype=torch.bool, device=x.device)
            node = torch.cat([of_users, feature.present])
            weight = weight.masked_fill(~(node[sender] & node[receiver]), -torch.inf)
            best = weight if best is None else torch.maximum(best, weight)
        refined = both.with_values(F.relu(best), symmetric=False)  # type: ignore[arg-type]
        one = spmm(refined, self.identity)
        ids = self.identity + one + spmm(refined, one)
        return rows.of(*torch.cat([ids, *content], 1).split([graph.num_users, graph.num_videos]))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        terms = self.ranking_loss(graph, self.encode(graph, rows), rows, at)
        own = [t.square().mean() for t in rows.of(*self.identity.split([graph.num_users, graph.num_videos]))]
        own += [rows.of_users(self.preference[m]).square().mean() for m in self.modalities]
        return {**terms, "l2": self.l2 * torch.stack(own).sum()}
