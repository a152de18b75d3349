"""Turbo-CF: a polynomial of an asymmetrically normalised graph of videos, each weight raised to a power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mmgraph.models.closed.linear import scipy_matrix
from mmgraph.models.closed.spectral import SpectralFilter
from mmgraph.nn.spectral import ItemGram
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

# coefficients of P, P², P³: the paper's linear, second-order and third-order filters
FILTERS = {1: (1.0,), 2: (2.0, -1.0), 3: (1.0 - 0.29, 0.1, -0.01)}


class TurboCF(SpectralFilter):
    """Turbo-CF: ŷ = x h(P̄), P̄ = (R̃ᵀR̃)^{∘s} element by element, R̃ = D_U^-α X D_I^-(1−α).

    Park et al., "Turbo-CF: Matrix Decomposition-Free Graph Filtering for Fast Recommendation", SIGIR 2024,
    https://arxiv.org/abs/2404.14243. h is P, 2P − P², or P + .01 (−P³ + 10 P² − 29 P). The power s needs P̄'s entries,
    so that P̄ is formed, sparse: Σ_u |u|² of them at most.

    Args:
        graph: gives sizes.
        alpha: α.
        power: s.
        order: 1, 2 or 3: which h.

    Raises:
        ValueError: another order.
    """

    pattern: Tensor
    column: Tensor
    weight: Tensor

    def __init__(
        self, graph: MultimodalGraph, *, alpha: float = 0.5, power: float = 1.0, order: Literal[1, 2, 3] = 1
    ) -> None:
        super().__init__(graph, ItemGram(graph, user_power=alpha, video_power=1 - alpha))
        if order not in FILTERS:
            raise ValueError(f"order must be one of {sorted(FILTERS)}, got {order}")
        self.power, self.order = power, order
        co_watched = _gram(graph.seen)
        self.register_buffer("pattern", torch.zeros(graph.num_videos + 1, dtype=torch.int64))
        self.register_buffer("column", torch.zeros(co_watched, dtype=torch.int32))
        self.register_buffer("weight", torch.zeros(co_watched))

    def solve(self, graph: MultimodalGraph) -> None:
        """Forms P̄."""
        super().solve(graph)
        matrix = self.gram.matrix()
        x = scipy_matrix(matrix)
        gram = (x.T @ x).tocsr()
        gram.sort_indices()
        self.pattern.copy_(torch.from_numpy(gram.indptr))
        self.column.copy_(torch.from_numpy(gram.indices))
        self.weight.copy_(torch.from_numpy(gram.data).pow(self.power))

    def filter(self, signal: Tensor) -> Tensor:
        """Scores [V, B] of clicks [V, B]."""
        size = len(self.pattern) - 1
        matrix = CSR(self.pattern, self.column, self.weight, (size, size))
        out, step = torch.zeros_like(signal), signal.contiguous()
        for c in FILTERS[self.order]:
            step = spmm(matrix, step)
            out = out + c * step
        return out


def _gram(seen: CSR) -> int:
    """Pairs of videos that somebody watched both of."""
    x = scipy_matrix(seen)
    return int((x.T @ x).nnz)
