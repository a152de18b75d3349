"""Videos joined to those alike in one modality, where no other modality objects."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from mmgraph.graph.transforms.knn import symmetric_weights
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

BLOCK = 1 << 24  # similarities held at once


@dataclass(frozen=True)
class DenoisedKNN:
    """Adds ``(video, similar_<m>, video)`` for each modality m: the ``k`` nearest among pairs alike in every modality.

    A pair is alike in m when its cosine is at least the mean cosine of m over all pairs. Among the pairs that are alike
    in all modalities that both videos have, each video keeps its ``k`` of the highest cosine in m, itself among them:
    weights 1, then w_ij / sqrt(d_i d_j). Xv et al., "Improving Multi-modal Recommender Systems by Denoising and
    Aligning Multi-modal Content and User Feedback", KDD 2024, https://doi.org/10.1145/3637528.3671703. A video
    without m has no edge of m; a modality that it lacks objects to nothing.

    Args:
        k: neighbours a video.
        modalities: which; all of the graph's by default.
    """

    k: int = 10
    modalities: Sequence[str] | None = None

    def __post_init__(self) -> None:
        checks.count(self.k, "k")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them)."""
        names = list(graph.modalities if self.modalities is None else self.modalities)
        present = {m: graph.features(m).present for m in names}
        unit = {m: F.normalize(graph.features(m).values.float(), dim=1) for m in names}
        mean = {m: unit[m].sum(0).square().sum() / present[m].sum().clamp_min(1).square() for m in names}
        edges: dict[str, list[torch.Tensor]] = {m: [] for m in names}
        step = max(BLOCK // max(graph.num_videos, 1), 1)
        for start in range(0, graph.num_videos, step):
            rows = slice(start, start + step)
            cosine = {m: unit[m][rows] @ unit[m].T for m in names}
            both = {m: present[m][rows, None] & present[m] for m in names}
            alike = torch.stack([(cosine[m] >= mean[m]) | ~both[m] for m in names]).all(0)
            for m in names:
                best = cosine[m].masked_fill(~(alike & both[m]), -torch.inf).topk(min(self.k, graph.num_videos), dim=1)
                target, place = best.values.isfinite().nonzero(as_tuple=True)
                edges[m].append(torch.stack([best.indices[target, place], target + start]))
        out = copy.copy(graph)
        for m in names:
            source, target = torch.cat(edges[m], 1)
            store = out["video", f"similar_{m}", "video"]
            store.edge_index = torch.stack([source, target])
            ones = torch.ones(len(target), device=target.device)
            store.weight = symmetric_weights(target, source, ones, graph.num_videos)
        return out
