"""BPR-MF: matrix factorisation, which is LightGCN without layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.nn.heads import Head
from mmgraph.objectives import Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class BPRMF(LightGCN):
    """Matrix factorisation under BPR, or under any other objective: LightGCN with no layer.

    Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618. ŷ_uv = e_uᵀ e_v, without biases.

    Args:
        graph, embedding_dim, l2, head, objective: as :class:`LightGCN`.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        l2: float = 1e-4,
        head: Head | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(graph, embedding_dim=embedding_dim, num_layers=0, l2=l2, head=head, objective=objective)
