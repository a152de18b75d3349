"""MVGAE: a Gaussian a modality for every node, multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import kl_gaussian
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Multimodal, user_tables
from mmgraph.nn.fusion import node_presence
from mmgraph.nn.projection import projections
from mmgraph.nn.tables import xavier_table
from mmgraph.nn.vae import LOG_VAR_RANGE, product_of_experts, reparameterise
from mmgraph.objectives import Objective
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

FLAT = 10.0  # ln of the prior's variance: as good as no prior among the experts


class MVGAE(Multimodal):
    """MVGAE: graph autoencoders, one a modality and one of ids, joined as a product of experts.

    Yi and Chen, "Multi-modal Variational Graph Auto-encoder for Recommendation Systems", TMM 2021,
    https://doi.org/10.1109/TMM.2021.3111487. Expert e: x = [p_e ; P_e f] (ids for the collaborative one),
    h = LReLU(W mean_j x_j + W_0 x), μ = n(W_μ mean_j h_j), ln σ² likewise; joint: precision-weighted mean over the
    experts that a node has. Loss, for the joint and each expert: BPR of draws z = μ + σε, and β KL(q ‖ N(0, I)). Ranks
    by the joint μ.

    An absent modality is an expert that is left out: exact. In MMRec's port videos are not offset by U, so that users
    are trained against users, and two tables are never trained; none of that is here.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        beta: β.
        noise: factor on σ of the draws.
        modalities: which to use; all of the graph's by default.
        objective: one other than BPR.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        beta: float = 0.1,
        noise: float = 0.1,
        modalities: Sequence[str] | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(graph, embedding_dim=embedding_dim, modalities=modalities, objective=objective)
        self.beta, self.noise, dim = beta, noise, embedding_dim
        experts = ("id", *self.modalities)
        self.video = xavier_table(graph.num_videos, dim, normal=True)
        self.preference = user_tables(graph, experts, dim)
        self.project = projections(graph, self.modalities, dim)
        self.hidden = nn.ModuleDict({e: nn.Linear(dim, dim) for e in experts})
        self.own = nn.ModuleDict({e: nn.Linear(dim, dim, bias=False) for e in experts})
        self.mean = nn.ModuleDict({e: nn.Linear(dim, dim) for e in experts})
        self.spread = nn.ModuleDict({e: nn.Linear(dim, dim) for e in experts})

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """The joint μ: user [U, D], video [V, D], or rows of them."""
        return rows.split(graph, self.experts(graph, rows)["joint"][0])

    def experts(self, graph: MultimodalGraph, rows: Rows = ALL) -> dict[str, tuple[Tensor, Tensor]]:
        """μ and ln σ² of each expert and of the joint, users first and videos after them, at the rows."""
        adjacency, at = graph.adjacency("interacts", norm="row"), rows.stacked(graph)
        means, log_vars, present = {}, {}, {}
        for e, user in self.preference.items():
            video, here = self.video, torch.ones(len(user) + graph.num_videos, dtype=torch.bool, device=user.device)
            if e != "id":
                video, here = self.projected(graph, e), node_presence(graph, graph.features(e).present)
            x = torch.cat([user, video])
            h = F.leaky_relu(self.hidden[e](spmm(adjacency, x)) + self.own[e](x))
            near = spmm(adjacency, h, rows=at) + (h if at is None else F.embedding(at, h))
            means[e] = F.normalize(self.mean[e](near), dim=1)
            log_vars[e] = self.spread[e](near).clamp(*LOG_VAR_RANGE)
            present[e] = here if at is None else here[at]
        flat = means["id"].new_zeros(()), means["id"].new_full((), FLAT)
        out = {e: (means[e], log_vars[e]) for e in means}
        return out | {"joint": product_of_experts(means, log_vars, present, flat)}

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms summed over the joint and the experts, and ``kl``."""
        rows, at = batch_rows(batch, self.objective)
        terms: dict[str, Tensor] = {}
        kl = []
        for mean, log_var in self.experts(graph, rows).values():
            z = mean + self.noise * (reparameterise(mean, log_var) - mean) if self.training else mean
            for name, term in self.ranking_loss(graph, rows.split(graph, z), rows, at).items():
                terms[name] = terms[name] + term if name in terms else term
            kl.append(kl_gaussian(mean, log_var))
        return {**terms, "kl": self.beta * torch.stack(kl).mean()}
