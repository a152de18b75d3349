"""SLIM: a sparse, non-negative item model by the elastic net."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.models.closed.ease import EASE
from mmgraph.models.closed.linear import interaction_matrix
from mmgraph.ops import dense_gram
from mmgraph.ops.memory import Need, dense_bytes

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

# rows of W moved before XᵀX W is brought up to date, and columns of it that are so at once: what stays in cache
ROWS, COLUMNS = 16, 64


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
        sweeps: over all coordinates, at most; where they end it, a warning says so.
        tolerance: stops when no weight moves by more; a tenth of it is no move.

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
        """Coordinate descent, one row of W (all videos' weights on one) at a time. What a block of rows changes in
        XᵀX W is added at once, for the columns that changed."""
        gram = dense_gram(interaction_matrix(graph), torch.empty_like(self.weight)).div_(graph.num_users)
        weight, reached = self.weight.zero_(), torch.zeros_like(gram)  # reached = (XᵀX W)ᵀ / U
        moved = 0.0
        for _ in range(self.sweeps):
            moved = 0.0
            for start in range(0, len(gram), ROWS):
                rows = slice(start, start + ROWS)
                step = self._step(gram[rows], weight[rows], reached[:, rows].T, start)
                there = step.any(0).nonzero().flatten()
                weight[rows] += step
                for part in there.split(COLUMNS):
                    reached.index_add_(0, part, step[:, part].T @ gram[rows])
                moved = max(moved, float(step.abs().max()))
            if moved <= self.tolerance:
                break
        else:
            told = f"a weight still moved by {moved:.2g} in the last of {self.sweeps} sweeps"
            warnings.warn(f"SLIM: {told}: give it more, or a larger tolerance", stacklevel=2)
        self.solved.fill_(True)

    def _step(self, gram: Tensor, weight: Tensor, reached: Tensor, start: int) -> Tensor:
        """By how much rows ``start``, … of W move, one after the other, [b, V]; the others [b, V] are theirs."""
        shrink, ridge = self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio)
        inner, step = gram[:, start : start + len(gram)], torch.empty_like(weight)
        own = inner.diagonal().unsqueeze(1)
        pull, size = gram - reached + own * weight - shrink, (own + ridge).clamp_min(1e-30)
        for i, row in enumerate(step):
            torch.sub(pull[i].clamp_min(0) / size[i], weight[i], out=row)
            row[start + i] = 0
            row.masked_fill_(row.abs() < self.tolerance / 10, 0)
            pull[i + 1 :].addr_(inner[i + 1 :, i], row, alpha=-1)
        return step
