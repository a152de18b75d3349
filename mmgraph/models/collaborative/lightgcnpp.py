"""LightGCN++: unit rows into each layer, an uneven normalisation, and a weight on the first layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from mmgraph.models.base import Rows
from mmgraph.models.collaborative.lightgcn import RefinedLayers
from mmgraph.nn.propagation import layers

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class LightGCNPP(RefinedLayers):
    """LightGCN++: e ← D^-α A D^-β (e/‖e‖) a layer; out = γ e⁰ + (1 − γ) mean of layers 1 … K.

    Lee et al., "Revisiting LightGCN: Unexpected Inflexibility, Inconsistency, and A Remedy Towards Improved
    Recommendation", RecSys 2024, https://doi.org/10.1145/3640457.3688176.

    Args:
        graph, num_layers, more: as :class:`LightGCN`, of which ``layer_weights`` is not read.
        alpha, beta: powers of the receiving and of the sending node's degree.
        gamma: γ.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        alpha: float = 0.6,
        beta: float = -0.1,
        gamma: float = 0.2,
        **more: Any,
    ) -> None:
        super().__init__(graph, num_layers=num_layers, **more)
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def states(self, graph: MultimodalGraph, rows: Rows) -> list[Tensor]:
        """e⁰ and Σ_j d_i^-α d_j^-β e_j/‖e_j‖ … at the rows."""
        raw = graph.adjacency(self.edge_types, norm=None)
        degree = raw.degree().to(self.embedding).clamp_min(1)
        sender, receiver = degree.pow(-self.beta).unsqueeze(1), degree.pow(-self.alpha).unsqueeze(1)
        # ‖receiver · x‖ is not ‖x‖'s: what is sent is normalised, then scaled by its sender
        at, x = rows.stacked(graph), self.embedding
        out = [x if at is None else F.embedding(at, x)]
        for depth in range(self.num_layers):
            last = at if depth == self.num_layers - 1 else None
            message = layers(raw, F.normalize(x, dim=1) * sender, 1, rows=last)[1]
            x = message * (receiver if last is None else receiver[last])
            out.append(x if at is None or last is not None else F.embedding(at, x))
        return out

    def mixed(self, states: list[Tensor]) -> Tensor:
        """γ e⁰ + (1 − γ) mean of the others."""
        ego, *more = states
        return self.gamma * ego + (1 - self.gamma) * sum(more) / max(len(more), 1)  # type: ignore[return-value]
