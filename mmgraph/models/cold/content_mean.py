"""The baseline of cold start: a user as the mean of what they watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.models.base import ALL, Embeddings, People, Rows
from mmgraph.models.cold.base import ContentModel, rarity
from mmgraph.nn.content import ContentInput
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class ContentMean(ContentModel):
    """Content mean: a user is the mean of the watched videos' content, ranked by cosine. No training.

    x_v = the modalities of v side by side, each standardised by column and of unit norm times its weight;
    u = Σ_{j∈N(u)} d_j^−α x_j / ‖·‖;  ŷ_uv = uᵀ x_v / ‖x_v‖. α = 0 is the plain mean; α > 0 lets a video that
    everybody watched say less about a user.

    Args:
        graph: gives the features' widths.
        modalities: which to use; all by default.
        weights: modality -> weight; 1 where left out.
        whiten: modalities to whiten before that (:class:`mmgraph.nn.ContentInput`).
        power: α.
    """

    closed_form = True
    solved: Tensor

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        modalities: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        whiten: Sequence[str] = (),
        power: float = 0.0,
    ) -> None:
        super().__init__()
        self.content, self.power = ContentInput(graph, modalities, weights, whiten), power
        self.register_buffer("solved", torch.zeros((), dtype=torch.bool))

    def solve(self, graph: MultimodalGraph) -> None:
        """Takes the features' means and deviations from the graph."""
        self.content.fit(graph)
        self.solved.fill_(True)

    @property
    def fitted(self) -> bool:
        """Whether :meth:`solve` has run."""
        return bool(self.solved)

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Unit rows [n, ΣD_m]."""
        return self._join(self.content(features)[0])

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """Unit rows: user [U, ΣD_m] (0 for a user without content), video [V, ΣD_m], or rows of them."""
        video = self._join(self.content.of(graph)[0])
        return Embeddings(self._profile(graph, graph.seen, video, rows.user), rows.of_videos(video))

    def _profile(self, graph: MultimodalGraph, clicks: CSR, video: Tensor, rows: Tensor | None = None) -> Tensor:
        return F.normalize(spmm(clicks, video * rarity(graph, self.power), rows=rows), dim=1)

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The mean of the content that people clicked.

        Raises:
            ValueError: no clicks.
        """
        clicks = people.clicks_for(self, graph.num_videos)
        video = self._join(self.content.of(graph)[0])
        return Embeddings(self._profile(graph, clicks, video), video)

    def _join(self, x: Mapping[str, Tensor]) -> Tensor:
        return F.normalize(torch.cat([v / self.content.dims[m] ** 0.5 for m, v in x.items()], 1), dim=1)
