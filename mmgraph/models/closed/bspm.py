"""BSPM: blur, then sharpen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmgraph.models.closed.spectral import SpectralFilter
from mmgraph.nn.spectral import Gram, ItemGram

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class BSPM(SpectralFilter):
    """BSPM: blur x by the heat equation and the ideal low-pass filter, then sharpen: the same equation backwards.

    Choi et al., "Blurring-Sharpening Process Models for Collaborative Filtering", SIGIR 2023,
    https://arxiv.org/abs/2211.09324. b = x P + w · x D^-1/2 V Vᵀ D^1/2 (one Euler step); ŷ solves dr/dt = −r P from b,
    by one Runge–Kutta step of length T: ŷ = b (I − TP + T²P²/2 − T³P³/6 + T⁴P⁴/24). At T = 2.5 that is far from the
    flow's own e^−TP (at an eigenvalue of 1, .65 in place of .08): the coarse step is the published model, and is kept.

    Args:
        graph: gives sizes.
        rank: of the ideal low-pass filter.
        ideal: w.
        sharpen: T; 0 leaves it out.
    """

    def __init__(self, graph: MultimodalGraph, *, rank: int = 448, ideal: float = 0.2, sharpen: float = 2.5) -> None:
        super().__init__(graph, ItemGram(graph, rank=rank if ideal else 0))
        self.ideal, self.sharpen = ideal, sharpen

    def filter(self, signal: Tensor) -> Tensor:
        """Scores [V, B] of clicks [V, B]."""
        step = Gram(self.gram.matrix())
        out = step(signal)
        if self.ideal:
            scale = self.gram.video_scale.unsqueeze(1)
            out = out + self.ideal * self.gram.low_pass(signal * scale) / scale
        t = self.sharpen
        return step.polynomial([1, -t, t**2 / 2, -(t**3) / 6, t**4 / 24], out) if t else out
