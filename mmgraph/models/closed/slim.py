"""SLIM: a sparse, non-negative item model by the elastic net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmgraph.models.closed.ease import BLOCK, EASE
from mmgraph.models.closed.linear import interaction_matrix
from mmgraph.ops import dense_gram
from mmgraph.ops.memory import Need, dense_bytes

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class SLIM(EASE):
    """SLIM: min_W 1/(2U) ‖X − XW‖² + α (ρ ‖W‖₁ + (1 − ρ)/2 ‖W‖²), W ≥ 0, diag W = 0.

    Ning and Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011,
    https://doi.org/10.1109/ICDM.2011.134, in scikit-learn's parametrisation, which the field's tables use. Solved for
    all columns at once by cyclic coordinate descent on XᵀX:
    w_jv ← max(0, (g_jv − Σ_{i≠j} g_ji w_iv)/U − αρ) / (g_jj/U + α(1 − ρ)). Memory: three dense [V, V].

    Args:
        graph: gives V.
        alpha: α.
        l1_ratio: ρ.
        sweeps: over all coordinates, at most.
        tolerance: stops when no weight moves by more.

    Raises:
        NotEnoughMemory: (a ValueError) there is no room for it.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        alpha: float = 1e-3,
        l1_ratio: float = 0.1,
        sweeps: int = 30,
        tolerance: float = 1e-4,
    ) -> None:
        Need("SLIM", 3 * dense_bytes(graph.num_videos), "take fewer videos (a k-core), or ItemKNN").check()
        super().__init__(graph)
        self.alpha, self.l1_ratio, self.sweeps, self.tolerance = alpha, l1_ratio, sweeps, tolerance

    def solve(self, graph: MultimodalGraph) -> None:
        """Coordinate descent, one row of W (all videos' weights on one) at a time."""
        gram = dense_gram(interaction_matrix(graph), torch.empty_like(self.weight)).div_(graph.num_users)
        shrink, ridge = self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio)
        weight, reached = self.weight.zero_(), torch.zeros_like(gram)  # reached = gram @ weight, kept up to date
        for _ in range(self.sweeps):
            moved = 0.0
            for j in range(len(gram)):
                own = gram[j].nonzero().flatten()  # videos that somebody watched with this one, and itself
                near = own[own != j]
                pull = gram[j, near] - reached[j, near] + gram[j, j] * weight[j, near]
                step = (pull - shrink).clamp_min(0) / (gram[j, j] + ridge) - weight[j, near]
                there = step.nonzero().flatten()
                if not len(there):
                    continue
                near, step = near[there], step[there]
                moved = max(moved, float(step.abs().max()))
                weight[j, near] += step
                for rows in own.split(BLOCK):
                    reached[rows.unsqueeze(1), near] += gram[rows, j].unsqueeze(1) * step
            if moved <= self.tolerance:
                break
        self.solved.fill_(True)
