"""LightGCL: a contrast with the graph's singular value decomposition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import Embeddings, batch_rows
from mmgraph.models.collaborative.contrastive import chosen, contrast_with_all
from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.nn.spectral import ItemGram
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
        embedding_dim, num_layers, l2: as :class:`LightGCN`.
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
    ) -> None:
        ones = [1.0] * (num_layers + 1)
        super().__init__(graph, embedding_dim=embedding_dim, num_layers=num_layers, l2=l2, layer_weights=ones)
        self.contrast, self.temperature = contrast, temperature
        self.gram = ItemGram(graph, rank=rank)
        self.gram.solve(graph)
        # U S = R̃ V
        self.register_buffer("left", spmm(self.gram.matrix(), self.gram.basis))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """:class:`LightGCN`'s terms and ``contrast``; its layers serve both."""
        adjacency, x = graph.adjacency(self.edge_types), self.embedding
        total, low = x, x
        for _ in range(self.num_layers):
            user, video = x.split([graph.num_users, graph.num_videos])
            low = low + torch.cat([self.left @ (self.gram.basis.T @ video), self.gram.basis @ (self.left.T @ user)])
            x = spmm(adjacency, x)
            total = total + x
        ego, view, plain = (
            Embeddings(*x.split([graph.num_users, graph.num_videos])) for x in (self.embedding, low, total)
        )
        rows, at = batch_rows(batch, self.objective)
        terms = self.ranking_loss(graph, rows.of(*plain), rows, at)
        terms["l2"] = self.l2 * embedding_l2(len(batch.user), *rows.of(*ego))
        each = contrast_with_all(view, plain, chosen(batch), self.temperature)
        return {**terms, "contrast": self.contrast * torch.stack(each).sum()}
