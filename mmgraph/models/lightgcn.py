"""LightGCN, and BPR-MF, which is LightGCN without layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import Embeddings, Recommender, Rows, batch_rows
from mmgraph.models.objective import pair_terms
from mmgraph.nn.heads import Head
from mmgraph.ops import propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class LightGCN(Recommender):
    """LightGCN: embeddings propagated over the normalised user–video graph, layers averaged.

    He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020,
    https://arxiv.org/abs/2002.02126. E^{k+1} = D^-1/2 A D^-1/2 E^k;  E = Σ_k α_k E^k, α_k = 1/(K+1);  ŷ = e_uᵀ e_v;
    BPR loss plus ``l2`` · ½‖E⁰ of the batch's users and videos‖² / B.

    The L2 counts each user and video of the batch once, however often the batch names it (the public code
    counts repetitions); at the usual strengths the two are not distinguishable.

    Args:
        graph: gives U and V.
        embedding_dim: D.
        num_layers: K.
        l2: weight of the L2 term.
        layer_weights: α_0 … α_K; uniform by default.
        head: a head other than the dot product.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        l2: float = 1e-4,
        layer_weights: Sequence[float] | None = None,
        head: Head | None = None,
    ) -> None:
        super().__init__(head)
        if layer_weights is not None and len(layer_weights) != num_layers + 1:
            raise ValueError(f"{num_layers} layers need {num_layers + 1} layer_weights, got {len(layer_weights)}")
        self.num_users, self.num_layers, self.l2 = graph.num_users, num_layers, l2
        self.layer_weights = None if layer_weights is None else list(layer_weights)
        # users and videos in one table, as the adjacency stacks them: no concatenation at each step
        self.embedding = nn.Parameter(torch.empty(graph.num_users + graph.num_videos, embedding_dim))
        nn.init.normal_(self.embedding, std=0.1)

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """Propagated embeddings: user [U, D], video [V, D], or the given rows of them."""
        stacked = None if rows is None else torch.cat([rows.user, rows.video + self.num_users])
        if self.num_layers == 0:
            out = self.embedding if stacked is None else F.embedding(stacked, self.embedding)
        else:
            adjacency = graph.adjacency("interacts", norm="sym")
            out = propagate(adjacency, self.embedding, self.num_layers, weights=self.layer_weights, rows=stacked)
        split = self.num_users if rows is None else len(rows.user)
        return Embeddings(out[:split], out[split:])

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The head's terms (``bpr`` for the dot product) and ``l2``."""
        rows, at = batch_rows(batch)
        stacked = torch.cat([rows.user, rows.video + self.num_users])
        if self.num_layers == 0:
            out = own = F.embedding(stacked, self.embedding)
        else:
            adjacency, weights = graph.adjacency("interacts", norm="sym"), self.layer_weights
            given = {"weights": weights, "rows": stacked}
            out, own = propagate(adjacency, self.embedding, self.num_layers, **given, with_input=True)
        emb = Embeddings(out[: len(rows.user)], out[len(rows.user) :])
        l2 = embedding_l2(own) * (len(own) / len(batch.user))
        return {**pair_terms(self, emb, at), "l2": self.l2 * l2}


class BPRMF(LightGCN):
    """Matrix factorisation under BPR: LightGCN with no layer.

    Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618. ŷ_uv = e_uᵀ e_v, without biases.

    Args:
        graph, embedding_dim, l2, head: as :class:`LightGCN`.
    """

    def __init__(
        self, graph: MultimodalGraph, *, embedding_dim: int = 64, l2: float = 1e-4, head: Head | None = None
    ) -> None:
        super().__init__(graph, embedding_dim=embedding_dim, num_layers=0, l2=l2, head=head)
