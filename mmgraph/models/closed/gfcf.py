"""GF-CF: one step on the graph of videos, and its low frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmgraph.models.closed.spectral import SpectralFilter
from mmgraph.nn.spectral import ItemGram

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class GFCF(SpectralFilter):
    """GF-CF: ŷ = x P + w · x D^-1/2 V Vᵀ D^1/2, P = R̃ᵀR̃, V its ``rank`` leading eigenvectors, D the videos' degrees.

    Shen et al., "How Powerful is Graph Convolution for Recommendation?", CIKM 2021, https://arxiv.org/abs/2108.07567.
    The public code drops the second term for one data set by its name; here ``ideal`` = 0 does.

    Args:
        graph: gives sizes.
        rank: of the ideal low-pass filter.
        ideal: w ≥ 0.
    """

    def __init__(self, graph: MultimodalGraph, *, rank: int = 256, ideal: float = 0.3) -> None:
        super().__init__(graph, ItemGram(graph, rank=rank if ideal else 0))
        self.ideal = ideal

    def filter(self, signal: Tensor) -> Tensor:
        """Scores [V, B] of clicks [V, B]."""
        out = self.gram(signal)
        if self.ideal:
            scale = self.gram.video_scale.unsqueeze(1)
            out = out + self.ideal * self.gram.low_pass(signal * scale) / scale
        return out
