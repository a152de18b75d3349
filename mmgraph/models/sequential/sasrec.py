"""SASRec: the user is the state of a causal transformer after their events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mmgraph.models.sequential.base import Sequential
from mmgraph.nn.temporal import CausalTransformer
from mmgraph.objectives import Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class SelfAttentive(Sequential):
    """The user is the state of a transformer after their events: what SASRec and TiSASRec share.

    Args:
        graph, embedding_dim, max_len, objective: as :class:`~mmgraph.models.sequential.base.Sequential`.
        make: the transformer, of ``embedding_dim``, ``num_layers``, ``num_heads``, ``hidden_dim``, ``dropout``,
            ``norm`` and ``max_len``, in this order.
        num_layers, num_heads, hidden_dim, dropout, norm: as :class:`~mmgraph.nn.temporal.CausalTransformer`.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        make: Callable[..., CausalTransformer],
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        num_heads: int = 2,
        hidden_dim: int | None = None,
        dropout: float = 0.5,
        norm: Literal["pre", "post"] = "pre",
        max_len: int = 50,
        objective: Objective | None = None,
    ) -> None:
        layer = make(embedding_dim, num_layers, num_heads, hidden_dim, dropout, norm, max_len)
        super().__init__(graph, layer, embedding_dim=embedding_dim, max_len=max_len, objective=objective)


class SASRec(SelfAttentive):
    """Causal self-attention over the embedded events, next video by softmax.

    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781. The loss
    is cross-entropy over all videos, or over a sample with logQ correction, in place of the paper's binary
    cross-entropy with one negative, which is known to hold it back (Petrov & Macdonald, RecSys 2023,
    https://arxiv.org/abs/2308.07192). Layers: :class:`~mmgraph.nn.temporal.CausalTransformer`.

    Args:
        graph, more: as :class:`SelfAttentive` (``embedding_dim``, ``num_layers``, ``num_heads``, ``hidden_dim``,
            ``dropout``, ``norm``, ``max_len``, ``objective``).
        positions: as :class:`~mmgraph.nn.temporal.CausalTransformer`.
    """

    def __init__(self, graph: MultimodalGraph, *, positions: Literal["end", "start"] = "end", **more: Any) -> None:
        super().__init__(graph, partial(CausalTransformer, positions=positions), **more)
