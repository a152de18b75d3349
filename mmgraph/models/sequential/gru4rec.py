"""GRU4Rec: the user is the state of a GRU after their events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmgraph.models.sequential.base import Sequential
from mmgraph.nn.temporal import GRUEncoder
from mmgraph.objectives import Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class GRU4Rec(Sequential):
    """GRU over the embedded events, next video by softmax.

    Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016,
    https://arxiv.org/abs/1511.06939. Here over a user's whole history, with input and output tables tied and full or
    logQ-sampled softmax in place of the paper's BPR / TOP1 on in-batch negatives (its authors' later code does both).

    Args:
        graph, embedding_dim, max_len, objective: as :class:`~mmgraph.models.sequential.base.Sequential`.
        hidden_dim: width of the GRU; D by default.
        num_layers: GRU layers.
        dropout: on the input steps.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        hidden_dim: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.5,
        max_len: int = 50,
        objective: Objective | None = None,
    ) -> None:
        layer = GRUEncoder(embedding_dim, hidden_dim, num_layers, dropout)
        super().__init__(graph, layer, embedding_dim=embedding_dim, max_len=max_len, objective=objective)
