"""TiSASRec: SASRec that knows how much time lies between events."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mmgraph.models.sequential.sasrec import SelfAttentive
from mmgraph.nn.temporal import RelativeTransformer

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class TiSASRec(SelfAttentive):
    """Causal self-attention with clipped relative intervals in keys and values, next video by softmax.

    Li, Wang & McAuley, "Time Interval Aware Self-Attention for Sequential Recommendation", WSDM 2020,
    https://doi.org/10.1145/3336191.3371786. Cross-entropy in place of the paper's BCE, as in
    :class:`~mmgraph.models.SASRec`. On ordered lists without times intervals are differences of places.
    Layers: :class:`~mmgraph.nn.temporal.RelativeTransformer`.

    Args:
        graph, more: as :class:`~mmgraph.models.SASRec`, without ``positions``.
        max_interval: as :class:`~mmgraph.nn.temporal.RelativeTransformer`.
    """

    def __init__(self, graph: MultimodalGraph, *, max_interval: int = 64, **more: Any) -> None:
        super().__init__(graph, partial(RelativeTransformer, max_interval=max_interval), **more)
