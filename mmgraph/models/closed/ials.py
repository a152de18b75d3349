"""iALS: implicit alternating least squares with frequency-scaled regularisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.models.base import ALL, Embeddings, Rows
from mmgraph.models.closed.base import ClosedForm
from mmgraph.models.closed.linear import interaction_matrix
from mmgraph.ops import CSR, edge_dot, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class IALS(ClosedForm):
    """iALS: squared loss on what was watched and, weighted by α₀, on everything; solved a side at a time.

    Hu et al., "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, in the form of Rendle et al.,
    "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022,
    https://arxiv.org/abs/2110.14037: Σ_{(u,v)} (1 − xᵤᵀy_v)² + α₀ Σ_{u,v} (xᵤᵀy_v)² + λ Σ_u (|u| + α₀ V)^ν ‖x_u‖² +
    λ Σ_v (|v| + α₀ U)^ν ‖y_v‖². Each row solves (Y_uᵀY_u + α₀ YᵀY + λ_u I) x_u = Σ y, here by ``steps`` conjugate
    gradients from where it was, all rows at once and by sparse products.

    Args:
        graph: gives U and V.
        embedding_dim: D.
        unobserved: α₀.
        reg: λ.
        frequency: ν; 1 scales the regularisation by frequency, 0 does not.
        sweeps: over both sides.
        steps: of conjugate gradients a row and sweep.
        seed: of the first videos.
    """

    user: Tensor
    video: Tensor

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        unobserved: float = 0.01,
        reg: float = 0.01,
        frequency: float = 1.0,
        sweeps: int = 16,
        steps: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.unobserved, self.reg, self.frequency = unobserved, reg, frequency
        self.sweeps, self.steps, self.seed = sweeps, steps, seed
        self.register_buffer("user", torch.zeros(graph.num_users, embedding_dim))
        self.register_buffer("video", torch.zeros(graph.num_videos, embedding_dim))

    def solve(self, graph: MultimodalGraph) -> None:
        """``sweeps`` times the users, then the videos."""
        clicks = interaction_matrix(graph)
        generator, dim = torch.Generator().manual_seed(self.seed), self.user.shape[1]
        for table in (self.user, self.video):
            table.copy_(0.1 / dim**0.5 * torch.randn(table.shape, generator=generator))
        for _ in range(self.sweeps):
            self._side(self.user, self.video, clicks)
            self._side(self.video, self.user, clicks.transpose())
        self.solved.fill_(True)

    def _side(self, rows: Tensor, other: Tensor, clicks: CSR) -> None:
        """Moves ``rows`` [n, D] towards the solution against ``other`` [m, D]; clicks [n, m]."""
        gram = self.unobserved * other.T @ other
        count = clicks.degree().to(rows)
        ridge = (self.reg * (count + self.unobserved * clicks.shape[1]).pow(self.frequency)).unsqueeze(1)

        def product(x: Tensor) -> Tensor:
            # Σ_v y_v (y_vᵀ x): the edges' dot products as the weights of a sparse product
            return spmm(clicks.with_values(edge_dot(clicks, x, other)), other) + x @ gram + ridge * x

        residual = spmm(clicks, other) - product(rows)
        direction, size = residual.clone(), residual.square().sum(1, keepdim=True)
        for _ in range(self.steps):
            image = product(direction)
            step = size / (direction * image).sum(1, keepdim=True).clamp_min(1e-20)
            rows += step * direction
            residual -= step * image
            new = residual.square().sum(1, keepdim=True)
            direction, size = residual + new / size.clamp_min(1e-20) * direction, new

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        return rows.of(self.user, self.video)
