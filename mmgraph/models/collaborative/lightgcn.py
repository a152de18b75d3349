"""LightGCN: embeddings propagated over the normalised graph, layers averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, ByColumns, Embeddings, Recommender, Rows, batch_rows
from mmgraph.nn.heads import Head
from mmgraph.objectives import Objective
from mmgraph.ops import propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import EdgeType, MultimodalGraph


class LightGCN(Recommender):
    """LightGCN: embeddings propagated over the normalised user–video graph, layers averaged.

    He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020,
    https://arxiv.org/abs/2002.02126. E^{k+1} = D^-1/2 A D^-1/2 E^k;  E = Σ_k α_k E^k, α_k = 1/(K+1);  ŷ = e_uᵀ e_v;
    BPR loss plus ``l2`` · ½‖E⁰ of the batch's users and videos‖² / B.

    With further ``edge_types`` tags, creators or any other entity nodes are part of A, with embeddings of their own: a
    video that nobody has watched is then reached through them.

    The L2 counts each user and video of the batch once, however often the batch names it (the public code
    counts repetitions); at the usual strengths the two are not distinguishable.

    Args:
        graph: gives the node counts.
        embedding_dim: D.
        num_layers: K.
        l2: weight of the L2 term.
        layer_weights: α_0 … α_K; uniform by default.
        edge_types: what A is made of; ``("interacts", ("video", "belongs_to", "tag"))`` reads tags too.
        head: a head other than the dot product.
        objective: one other than BPR.

    Raises:
        ValueError: another number of layer weights.
        KeyError: an edge type that the graph does not have.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        l2: float = 1e-4,
        layer_weights: Sequence[float] | None = None,
        edge_types: Sequence[EdgeType | str] = ("interacts",),
        head: Head | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(head, objective)
        if layer_weights is not None and len(layer_weights) != num_layers + 1:
            raise ValueError(f"{num_layers} layers need {num_layers + 1} layer_weights, got {len(layer_weights)}")
        self.num_layers, self.l2, self.edge_types = num_layers, l2, list(edge_types)
        self.layer_weights = None if layer_weights is None else list(layer_weights)
        # all nodes in one table, as the adjacency stacks them: no concatenation at each step
        nodes = sum(int(graph[t].num_nodes) for t in graph.offsets(self.edge_types))
        self.embedding = nn.Parameter(torch.empty(nodes, embedding_dim))
        nn.init.normal_(self.embedding, std=0.1)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """Propagated embeddings: user [U, D], video [V, D], or the given rows of them."""
        at = rows.stacked(graph)
        if self.num_layers:
            adjacency = graph.adjacency(self.edge_types, norm="sym")
            out = propagate(adjacency, self.embedding, self.num_layers, weights=self.layer_weights, rows=at)
        else:
            out = self.embedding if at is None else F.embedding(at, self.embedding)
        return rows.split(graph, out)

    def by_columns(self) -> ByColumns:
        """The table; ``l2`` is a sum over columns."""
        return ByColumns({"embedding": 1}, ("l2",), ((self.edge_types, "sym"),) if self.num_layers else ())

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        stacked = rows.stacked(graph)
        if self.num_layers:  # E⁰ of the rows comes along with E, in one pass over the table
            adjacency, given = graph.adjacency(self.edge_types, norm="sym"), {"rows": stacked, "with_input": True}
            out, ego = propagate(adjacency, self.embedding, self.num_layers, weights=self.layer_weights, **given)
        else:
            out = ego = F.embedding(stacked, self.embedding)  # type: ignore[arg-type]
        terms = self.ranking_loss(graph, rows.split(graph, out), rows, at)
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), ego)}


class RefinedLayers(LightGCN):
    """LightGCN's table under layers that something is done to: what LayerGCN and LightGCN++ share.

    Args:
        graph, more: as :class:`LightGCN`, of which ``layer_weights`` is not read.
    """

    def states(self, graph: MultimodalGraph, rows: Rows) -> list[Tensor]:
        """E⁰ and each layer, users first and videos after them, at the rows."""
        raise NotImplementedError(f"{type(self).__name__} has no states()")

    def mixed(self, states: list[Tensor]) -> Tensor:
        """One row a node of its states."""
        raise NotImplementedError(f"{type(self).__name__} has no mixed()")

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        return rows.split(graph, self.mixed(self.states(graph, rows)))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        states = self.states(graph, rows)
        terms = self.ranking_loss(graph, rows.split(graph, self.mixed(states)), rows, at)
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), states[0])}
