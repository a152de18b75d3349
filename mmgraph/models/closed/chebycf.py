"""ChebyCF: a flat filter over the whole spectrum, as a Chebyshev polynomial."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from mmgraph.models.closed.spectral import SpectralFilter
from mmgraph.nn.spectral import Gram, ItemGram

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class ChebyCF(SpectralFilter):
    """ChebyCF: ŷ = x D^-β ( h(L̃) + w V Vᵀ ) D^β, L̃ = I − 2P, h a plateau of flatness φ interpolated by ``order``.

    Kim et al., "Graph Spectral Filtering with Chebyshev Interpolation for Recommendation", SIGIR 2025,
    https://arxiv.org/abs/2505.00552. h(λ) = ½ + ½ (−λ)^φ for λ < 0, ½ − ½ λ^φ above: low frequencies pass whole, middle
    ones half, the highest not at all.

    The public code interpolates at the roots of T_{K+1} but takes h at the extrema of T_K, a little farther out, and
    rounds both to three digits; ``as_coded`` does (without the rounding), and the published numbers are its.

    Args:
        graph: gives sizes.
        order: K.
        flatness: φ.
        rank: of the ideal low-pass filter.
        ideal: w.
        degree_power: β.
        as_coded: as above; False takes h at the roots.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        order: int = 8,
        flatness: float = 1.5,
        rank: int = 512,
        ideal: float = 0.2,
        degree_power: float = 0.4,
        as_coded: bool = False,
    ) -> None:
        super().__init__(graph, ItemGram(graph, rank=rank if ideal else 0))
        self.ideal, self.degree_power = ideal, degree_power
        self.coefficients = plateau_coefficients(order, flatness, as_coded)

    def filter(self, signal: Tensor) -> Tensor:
        """Scores [V, B] of clicks [V, B]."""
        scale = self.gram.video_scale.unsqueeze(1).pow(2 * self.degree_power)  # the gram's scale is d^-1/2
        signal = signal * scale
        out = Gram(self.gram.matrix()).chebyshev(self.coefficients, signal)
        if self.ideal:
            out = out + self.ideal * self.gram.low_pass(signal)
        return out / scale


def plateau_coefficients(order: int, flatness: float, as_coded: bool = False) -> list[float]:
    """c_0 … c_K of Σ_k c_k T_k(λ), the interpolation of the plateau at the K + 1 roots of T_{K+1}."""
    count = order + 1
    nodes = [math.cos((count + 0.5 - j) / count * math.pi) for j in range(1, count + 1)]
    at = [math.cos((order - j) / order * math.pi) for j in range(count)] if as_coded else nodes
    target = [0.5 - math.copysign(abs(x) ** flatness / 2, x) for x in at]
    out = [
        2 / count * sum(h * math.cos(k * math.acos(x)) for h, x in zip(target, nodes, strict=True))
        for k in range(count)
    ]
    return [out[0] / 2, *out[1:]]
