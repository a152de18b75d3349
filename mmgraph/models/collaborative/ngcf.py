"""NGCF: propagation with weights and the product of both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Recommender, Rows, batch_rows
from mmgraph.nn.heads import Head
from mmgraph.nn.tables import xavier_table
from mmgraph.objectives import Objective
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class NGCF(Recommender):
    """NGCF: E^{l+1} = LReLU( (L + I) E^l W_1 + (L E^l ⊙ E^l) W_2 ), all layers side by side.

    Wang et al., "Neural Graph Collaborative Filtering", SIGIR 2019, https://arxiv.org/abs/1905.08108.
    L = D^-1/2 A D^-1/2, message dropout after each layer, each layer's rows of norm 1 in the result. The public code's
    default adjacency is D^-1 (A + I), not the paper's, and it puts LReLU on the two sums apart; ``as_coded`` does both.
    Toolboxes that make the dropout inside ``forward`` keep it at test.

    Args:
        graph: gives U and V.
        embedding_dim: D of every layer.
        num_layers: L.
        dropout: of messages.
        l2: weight of ½‖the result's rows‖² / B.
        as_coded: as above.
        head, objective: ones other than the dot product and BPR.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        dropout: float = 0.1,
        l2: float = 1e-5,
        as_coded: bool = False,
        head: Head | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(head, objective)
        self.l2, self.as_coded, self.dropout = l2, as_coded, nn.Dropout(dropout)
        nodes = graph.num_users + graph.num_videos
        self.embedding = xavier_table(nodes, embedding_dim)
        self.sums, self.products = (
            nn.ModuleList(nn.Linear(embedding_dim, embedding_dim) for _ in range(num_layers)) for _ in range(2)
        )
        for layer in (*self.sums, *self.products):
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D (L + 1)], video [V, D (L + 1)], or rows of them."""
        adjacency = graph.adjacency("interacts", norm="row" if self.as_coded else "sym")
        at, x = rows.stacked(graph), self.embedding
        out = [x if at is None else F.embedding(at, x)]
        for depth, (total, product) in enumerate(zip(self.sums, self.products, strict=True)):
            last = at if depth == len(self.sums) - 1 else None
            own = x if last is None else F.embedding(last, x)
            near = spmm(adjacency, x, rows=last)
            parts = total(near + own), product(near * own)
            x = F.leaky_relu(parts[0]) + F.leaky_relu(parts[1]) if self.as_coded else F.leaky_relu(parts[0] + parts[1])
            x = self.dropout(x)
            out.append(F.normalize(x if at is None or last is not None else F.embedding(at, x), dim=1))
        return rows.split(graph, torch.cat(out, 1))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        emb = self.encode(graph, rows)
        return {**self.ranking_loss(graph, emb, rows, at), "l2": self.l2 * embedding_l2(len(batch.user), *emb)}
