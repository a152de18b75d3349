"""The variational graph form of LightGCN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.nn.heads import VAEHead

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class VGAE(LightGCN):
    """The variational graph form: LightGCN's neighbourhood gives q(z_u), the propagated videos decode.

    q(z_u | G) = N(μ(h_u), σ²(h_u)), h_u the propagated user;  ŷ_uv = z_uᵀ h_v;  loss = BPR + β(t) KL(q ‖ N(0, I)).
    Kipf and Welling, "Variational Graph Auto-Encoders", 2016, https://arxiv.org/abs/1611.07308, with the pair-wise
    likelihood of MVGAE (Yi and Chen, 2021, https://doi.org/10.1109/TMM.2021.3111487) in place of all pairs'
    cross-entropy; the KL is a mean over the batch's users. Videos stay points: their rows serve every user and are what
    an index holds. The same as ``LightGCN(graph, head=VAEHead(embedding_dim))``.

    Args:
        graph, embedding_dim, more: as :class:`LightGCN`.
        beta: last β.
        anneal_steps: batches over which β rises.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        beta: float = 0.01,
        anneal_steps: int = 2000,
        **more: Any,
    ) -> None:
        head = VAEHead(embedding_dim, beta=beta, anneal_steps=anneal_steps)
        super().__init__(graph, embedding_dim=embedding_dim, **{"head": head, **more})
