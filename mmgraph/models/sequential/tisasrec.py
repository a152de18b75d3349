"""TiSASRec: SASRec that knows how much time lies between events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mmgraph.models.sequential.base import Sequential
from mmgraph.nn.temporal import RelativeTransformer
from mmgraph.objectives import Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class TiSASRec(Sequential):
    """Causal self-attention with clipped relative intervals in keys and values, next video by softmax.

    Li, Wang & McAuley, "Time Interval Aware Self-Attention for Sequential Recommendation", WSDM 2020,
    https://doi.org/10.1145/3336191.3371786. Cross-entropy in place of the paper's BCE, as in
    :class:`~mmgraph.models.SASRec`. On ordered lists without times intervals are differences of places.
    Layers: :class:`~mmgraph.nn.temporal.RelativeTransformer`.

    Args:
        graph, embedding_dim, max_len, objective: as :class:`~mmgraph.models.sequential.base.Sequential`.
        num_layers, num_heads, hidden_dim, dropout, norm, max_interval: as
            :class:`~mmgraph.nn.temporal.RelativeTransformer`.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        num_heads: int = 2,
        hidden_dim: int | None = None,
        dropout: float = 0.5,
        norm: Literal["pre", "post"] = "pre",
        max_len: int = 50,
        max_interval: int = 64,
        objective: Objective | None = None,
    ) -> None:
        layer = RelativeTransformer(
            embedding_dim, num_layers, num_heads, hidden_dim, dropout, norm, max_len, max_interval=max_interval
        )
        super().__init__(graph, layer, embedding_dim=embedding_dim, max_len=max_len, objective=objective)
