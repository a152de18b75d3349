"""ItemKNN over content: the videos that look, sound or read most like those a user watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.features.standardise import Standardiser
from mmgraph.models.base import chosen_modalities
from mmgraph.models.closed.itemknn import ItemKNN
from mmgraph.ops import knn

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class ContentKNN(ItemKNN):
    """Item-based nearest neighbours in the features: ŷ_uv = Σ_{j∈u} cos(x_v, x_j) over the ``k`` videos most like v.

    The modalities are put on one scale first (columns standardised, rows of unit norm) and joined with their weights;
    side by side as they come, the one of the largest numbers decides alone, as in the toolboxes' concatenation. A
    modality that a video lacks counts 0.

    Args:
        graph: gives V and the features.
        modalities: which; all of the graph's by default.
        weights: modality -> factor; 1 where left out.
        k: neighbours kept for each video.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        modalities: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        k: int = 10,
    ) -> None:
        super().__init__(graph, k=k)
        self.modalities, self.weights = chosen_modalities(graph, modalities), dict(weights or {})

    def solve(self, graph: MultimodalGraph) -> None:
        """The k nearest of each video."""
        width = min(self.k, graph.num_videos - 1)
        index, cosine = knn(self._rows(graph), max(width, 1))
        self.neighbour.zero_()
        self.similarity.zero_()
        self.neighbour[:, : index.shape[1]] = index.clamp_min(0)
        self.similarity[:, : index.shape[1]] = cosine.float().clamp_min(0) * (index >= 0)
        self.solved.fill_(True)

    def _rows(self, graph: MultimodalGraph) -> Tensor:
        parts = []
        for m in self.modalities:
            feature = graph.features(m)
            standard = Standardiser.fit(feature.values, feature.present)
            parts.append(F.normalize(standard(feature.values, feature.present), dim=1) * self.weights.get(m, 1.0))
        return torch.cat(parts, 1)
