"""SASRec: the user is the state of a causal transformer after their events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mmgraph.models.sequential.base import Sequential
from mmgraph.nn.temporal import CausalTransformer
from mmgraph.objectives import Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class SASRec(Sequential):
    """Causal self-attention over the embedded events, next video by softmax.

    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781. The loss
    is cross-entropy over all videos, or over a sample with logQ correction, in place of the paper's binary
    cross-entropy with one negative, which is known to hold it back (Petrov & Macdonald, RecSys 2023,
    https://arxiv.org/abs/2308.07192). Layers: :class:`~mmgraph.nn.temporal.CausalTransformer`.

    Args:
        graph, embedding_dim, max_len, objective: as :class:`~mmgraph.models.sequential.base.Sequential`.
        num_layers, num_heads, hidden_dim, dropout, norm, positions: as
            :class:`~mmgraph.nn.temporal.CausalTransformer`.
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
        positions: Literal["end", "start"] = "end",
        max_len: int = 50,
        objective: Objective | None = None,
    ) -> None:
        layer = CausalTransformer(embedding_dim, num_layers, num_heads, hidden_dim, dropout, norm, max_len, positions)
        super().__init__(graph, layer, embedding_dim=embedding_dim, max_len=max_len, objective=objective)
