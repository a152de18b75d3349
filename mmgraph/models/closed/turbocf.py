"""Turbo-CF: a polynomial of an asymmetrically normalised graph of videos, each weight raised to a power."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mmgraph.models.closed.spectral import SpectralFilter
from mmgraph.nn.spectral import Gram, ItemGram
from mmgraph.ops import CSR, gram_blocks, spmm
from mmgraph.ops.memory import Need

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

# coefficients of P, P², P³: the paper's linear, second-order and third-order filters
FILTERS = {1: (1.0,), 2: (2.0, -1.0), 3: (1.0 - 0.29, 0.1, -0.01)}


class TurboCF(SpectralFilter):
    """Turbo-CF: ŷ = x h(P̄), P̄ = (R̃ᵀR̃)^{∘s} element by element, R̃ = D_U^-α X D_I^-(1−α).

    Park et al., "Turbo-CF: Matrix Decomposition-Free Graph Filtering for Fast Recommendation", SIGIR 2024,
    https://arxiv.org/abs/2404.14243. h is P, 2P − P², or P + .01 (−P³ + 10 P² − 29 P). A power s ≠ 1 needs P̄'s
    entries, so that P̄ is formed, sparse, in blocks: 8 bytes an entry, Σ_u |u|² of them at most. With s = 1 it is not:
    a product costs 2 E a user.

    Args:
        graph: gives sizes.
        alpha: α.
        power: s.
        order: 1, 2 or 3: which h.

    Raises:
        ValueError: another order.
        NotEnoughMemory: (a ValueError) there is no room for P̄.
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
        size, pairs = 0, 0
        if power != 1:
            size = graph.num_videos + 1
            pairs = sum(block.num_edges for _, block in gram_blocks(graph.seen))
            Need("TurboCF", 8 * pairs, "take power=1, which does not form the graph of videos").check()
        self.register_buffer("pattern", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("column", torch.zeros(pairs, dtype=torch.int32))
        self.register_buffer("weight", torch.zeros(pairs))

    def solve(self, graph: MultimodalGraph) -> None:
        """Forms P̄ where it has to be."""
        super().solve(graph)
        if self.power == 1:
            return
        start = 0
        for rows, block in gram_blocks(self.gram.matrix()):
            stop = start + block.num_edges
            self.pattern[rows.start + 1 : rows.stop + 1] = block.indptr[1:] + start
            self.column[start:stop] = block.indices
            self.weight[start:stop] = block.values.pow(self.power)  # pyright: ignore[reportOptionalMemberAccess]
            start = stop

    def filter(self, signal: Tensor) -> Tensor:
        """Scores [V, B] of clicks [V, B]."""
        product: Callable[[Tensor], Tensor] = Gram(self.gram.matrix())
        if self.power != 1:
            size = len(self.pattern) - 1
            product = partial(spmm, CSR(self.pattern, self.column, self.weight, (size, size)))
        out, step = torch.zeros_like(signal), signal.contiguous()
        for c in FILTERS[self.order]:
            step = product(step)
            out.add_(step, alpha=c)
        return out
