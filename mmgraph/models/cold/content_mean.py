"""The baseline of cold start: a user as the mean of what they watched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.models.base import ALL, Embeddings, Rows
from mmgraph.models.clicks import ReadsClicks
from mmgraph.models.closed.base import ClosedForm
from mmgraph.models.cold.base import Content, ContentModel, rarity
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class ContentMean(ReadsClicks, ClosedForm, ContentModel):
    """Content mean: a user is the mean of the watched videos' content, ranked by cosine. No training.

    x_v = the modalities of v side by side, each standardised by column and of unit norm times its weight;
    u = Σ_{j∈N(u)} d_j^−α x_j / ‖·‖;  ŷ_uv = uᵀ x_v / ‖x_v‖. α = 0 is the plain mean; α > 0 lets a video that
    everybody watched say less about a user.

    Args:
        graph, more: ``modalities``, ``weights``, ``whiten``: as :class:`ContentModel`.
        power: α.
    """

    def __init__(self, graph: MultimodalGraph, *, power: float = 0.0, **more: Unpack[Content]) -> None:
        super().__init__(graph, **more)
        self.power = power

    def solve(self, graph: MultimodalGraph) -> None:
        """Takes the features' means and deviations from the graph."""
        self.content.fit(graph)
        self.solved.fill_(True)

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Unit rows [n, ΣD_m]."""
        return self._join(self.content(features)[0])

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """Unit rows: user [U, ΣD_m] (0 for a user without content), video [V, ΣD_m], or rows of them."""
        video = self._join(self.content.of(graph)[0])
        return Embeddings(self._profile(graph, graph.seen, video, rows.user), rows.of_videos(video))

    def _profile(self, graph: MultimodalGraph, clicks: CSR, video: Tensor, rows: Tensor | None = None) -> Tensor:
        return F.normalize(spmm(clicks, video * rarity(graph, self.power), rows=rows), dim=1)

    def of_clicks(self, graph: MultimodalGraph, clicks: CSR) -> Embeddings:
        """The mean of the content that people clicked."""
        video = self._join(self.content.of(graph)[0])
        return Embeddings(self._profile(graph, clicks, video), video)

    def _join(self, x: Mapping[str, Tensor]) -> Tensor:
        return F.normalize(torch.cat([v / self.content.dims[m] ** 0.5 for m, v in x.items()], 1), dim=1)
