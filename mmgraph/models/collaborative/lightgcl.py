"""LightGCL: a contrast with the graph's singular value decomposition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2, info_nce
from mmgraph.models.base import Embeddings, batch_rows
from mmgraph.models.collaborative.contrastive import chosen
from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.nn.heads import Head
from mmgraph.nn.spectral import ItemGram
from mmgraph.objectives import Objective
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class LightGCL(LightGCN):
    """LightGCL: LightGCN (layers summed), and InfoNCE against the same over R̃'s ``rank`` leading singular vectors.

    Cai et al., "LightGCL: Simple Yet Effective Graph Contrastive Learning for Recommendation", ICLR 2023,
    https://arxiv.org/abs/2302.08191. G = Σ_l U S Vᵀ E_v^{l−1} (and its transpose) + E⁰, which sees the whole graph at
    once; the negatives are all nodes of a kind. Here similarities are cosines; the public code takes raw dot products,
    whose exponentials overflow at small τ, and clamps the positives to ±5.

    Args:
        graph: gives U, V and, once, the decomposition.
        embedding_dim, num_layers, l2, head, objective: as :class:`LightGCN`.
        contrast: λ.
        temperature: τ.
        rank: of the decomposition.
    """

    left: Tensor

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        l2: float = 1e-7,
        contrast: float = 0.2,
        temperature: float = 0.2,
        rank: int = 5,
        head: Head | None = None,
        objective: Objective | None = None,
    ) -> None:
        ones = [1.0] * (num_layers + 1)
        sizes: dict[str, Any] = {"embedding_dim": embedding_dim, "num_layers": num_layers, "layer_weights": ones}
        super().__init__(graph, l2=l2, head=head, objective=objective, **sizes)
        self.contrast, self.temperature = contrast, temperature
        self.gram = ItemGram(graph, rank=rank)
        self.gram.solve(graph)
        # U S = R̃ V
        self.register_buffer("left", spmm(self.gram.matrix(), self.gram.basis))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """:class:`LightGCN`'s terms and ``contrast``; its layers serve both."""
        adjacency, sizes = graph.adjacency(self.edge_types), [graph.num_users, graph.num_videos]
        x = total = self.embedding
        before = torch.zeros_like(x)  # Σ_l E^{l−1}, which the decomposition is given at once
        for _ in range(self.num_layers):
            x = spmm(adjacency, x)
            before, total = total, total + x
        ego, plain, (user, video) = Embeddings(*self.embedding.split(sizes)), total.split(sizes), before.split(sizes)
        rows, at = batch_rows(batch, self.objective)
        terms = self.ranking_loss(graph, rows.of(*plain), rows, at)
        terms["l2"] = self.l2 * embedding_l2(len(batch.user), *rows.of(*ego))
        basis, each = self.gram.basis, []
        sides = (self.left, basis.T @ video), (basis, self.left.T @ user)
        for some, table, (out, into), start in zip(chosen(batch), plain, sides, ego, strict=True):
            low = F.embedding(some, start) + out[some] @ into  # type: ignore[arg-type]
            each.append(info_nce(low, low, self.temperature, among=(table, some)))  # type: ignore[arg-type]
        return {**terms, "contrast": self.contrast * torch.stack(each).sum()}
