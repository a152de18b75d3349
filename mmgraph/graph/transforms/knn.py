"""Videos joined to those alike in one modality."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mmgraph.ops import checks, knn

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class ModalityKNN:
    """Joins each video to its ``k`` nearest by cosine in one modality: edges ``(video, similar_<modality>, video)``.

    Exact, in blocks (``ops.knn``). As in LATTICE (Zhang et al., ACM MM 2021, https://arxiv.org/abs/2104.09036),
    the k largest s_ij of each row are kept and normalised symmetrically by row sums:
    w_ij = s_ij / sqrt(d_i d_j), d_i = Σ_j s_ij. Negative similarities count as 0. Edges run from neighbour to video, so
    ``graph.adjacency("similar_<modality>", norm=None) @ x`` gathers from each video's neighbours.
    Videos without the modality get no edge.

    Args:
        modality: which features.
        k: neighbours a video.
        weight: ``"cosine"`` keeps s_ij (LATTICE), ``"binary"`` sets it to 1 (FREEDOM,
            https://arxiv.org/abs/2211.06924).
        loops: count a video among its own neighbours, as both papers' public code does.
        share: factor on all weights. ``graph.adjacency`` over the ``similar_`` edges of several modalities adds them
            up: shares of .1 and .9 mix the two as FREEDOM does.

    Raises:
        TypeError, ValueError: k below 1 or no whole number, another word, a share that is no number.
    """

    modality: str
    k: int = 10
    weight: Literal["cosine", "binary"] = "cosine"
    loops: bool = False
    share: float = 1.0

    def __post_init__(self) -> None:
        checks.count(self.k, "k")
        checks.word(self.weight, "weight", ("cosine", "binary"))
        checks.number(self.share, "share")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the ``similar_<modality>`` edges (replaced where it had them)."""
        features = graph.features(self.modality)
        present = features.present.nonzero().flatten()
        values = features.values[present]
        index, similarity = knn(values, min(self.k, max(len(values) - 1, 1)))
        target = torch.arange(len(values), device=values.device).repeat_interleave(index.shape[1])
        source, weight = index.flatten(), similarity.flatten().float().clamp_min(0)
        keep = source >= 0
        target, source, weight = target[keep], source[keep], weight[keep]
        if self.loops:
            own = torch.arange(len(values), device=values.device)
            target, source = torch.cat([own, target]), torch.cat([own, source])
            weight = torch.cat([weight.new_ones(len(own)), weight])
        if self.weight == "binary":
            weight = (weight > 0).float()
        out = copy.copy(graph)
        store = out["video", f"similar_{self.modality}", "video"]
        store.edge_index = torch.stack([present[source], present[target]])
        store.weight = self.share * symmetric_weights(target, source, weight, len(values))
        return out


def symmetric_weights(target: Tensor, source: Tensor, weight: Tensor, size: int) -> Tensor:
    """w_ij / sqrt(d_i d_j) of edges [E], d_i = Σ_j w_ij the sums of the targets' rows; 0 where a sum is 0.

    Differentiable in ``weight``. Several edges between the same two count together.
    """
    degree = weight.new_zeros(size).index_add(0, target, weight)
    scale = torch.where(degree > 0, degree.clamp_min(1e-12).rsqrt(), 0.0)
    return weight * scale[target] * scale[source]
