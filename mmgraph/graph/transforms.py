"""Transforms: a graph in, a new graph out."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from mmgraph.features.standardise import Standardiser
from mmgraph.ops import knn

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

DAY = 86_400.0


class Transform(Protocol):
    """A callable from graph to graph. One that draws random numbers draws them from ``generator`` only."""

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The transformed graph; the one given is unchanged."""
        ...


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
        weight: ``"cosine"`` keeps s_ij (LATTICE), ``"binary"`` sets it to 1 (FREEDOM, https://arxiv.org/abs/2211.06924).
        loops: count a video among its own neighbours, as both papers' public code does.
        share: factor on all weights. ``graph.adjacency`` over the ``similar_`` edges of several modalities adds them
            up: shares of .1 and .9 mix the two as FREEDOM does.
    """

    modality: str
    k: int = 10
    weight: Literal["cosine", "binary"] = "cosine"
    loops: bool = False
    share: float = 1.0

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the ``similar_<modality>`` edges (replaced where it had them)."""
        features = graph.features(self.modality)
        present = features.present.nonzero().flatten()
        values = features.values[present]
        index, similarity = knn(values, min(self.k, max(len(values) - 1, 1)))
        target = torch.arange(len(values)).repeat_interleave(index.shape[1])
        source, weight = index.flatten(), similarity.flatten().float().clamp_min(0)
        keep = source >= 0
        target, source, weight = target[keep], source[keep], weight[keep]
        if self.loops:
            own = torch.arange(len(values))
            target, source = torch.cat([own, target]), torch.cat([own, source])
            weight = torch.cat([torch.ones(len(own)), weight])
        if self.weight == "binary":
            weight = (weight > 0).float()
        degree = torch.zeros(len(values)).index_add_(0, target, weight)
        scale = torch.where(degree > 0, degree.clamp_min(1e-12).rsqrt(), torch.zeros(()))
        out = copy.copy(graph)
        store = out["video", f"similar_{self.modality}", "video"]
        store.edge_index = torch.stack([present[source], present[target]])
        store.weight = self.share * weight * scale[target] * scale[source]
        return out


@dataclass(frozen=True)
class ScaleFeatures:
    """Puts the features of every modality on one scale: columns standardised, then rows of norm 1.

    f ← z/‖z‖, z = (f − mean)/σ by column over the videos that have the modality, seen or not. Cosines (``ModalityKNN``)
    then tell videos apart where all features share a large mean, and a model that projects features (VBPR) begins
    with content no larger than its ids. A graph grown by ``with_videos`` needs new features scaled alike.
    """

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with scaled features."""
        out = copy.copy(graph)
        for modality in graph.modalities:
            x = graph[modality].x
            if len(x):
                out[modality].x = Standardiser.fit(x)(x, unit=True)
        return out


@dataclass(frozen=True)
class TimeDecay:
    """Weights each interaction by its age: w(t) = w · 2^(−(T−t)/h), T the newest time in the graph.

    The exponent is formed in log space over days, so that neither seconds nor years under- or overflow, and
    the newest edge keeps its weight. In the form w = α^(T−t), α = 2^(−1/h) a day.

    Args:
        half_life: h, in days.
    """

    half_life: float

    def __post_init__(self) -> None:
        if not self.half_life > 0:
            raise ValueError(f"half_life must be a positive number of days, got {self.half_life}")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with decayed ``weight`` on its ``interacts`` edges.

        Raises:
            ValueError: the edges have no times.
        """
        store = graph["user", "interacts", "video"]
        if "time" not in store:
            raise ValueError("TimeDecay needs edge times: this graph's interactions have no `time`")
        age = (store.time.max() - store.time) / DAY if len(store.time) else store.time
        decay = torch.exp(-math.log(2) * age / self.half_life).float()
        out = copy.copy(graph)
        out["user", "interacts", "video"].weight = store.weight * decay if "weight" in store else decay
        return out


@dataclass(frozen=True)
class EdgeDrop:
    """Keeps a random share 1 − ``rate`` of the interactions: what ``fit`` applies anew each epoch.

    With ``degree_sensitive`` an edge is kept with chances ∝ 1/sqrt(d_u d_v), without replacement (FREEDOM,
    https://arxiv.org/abs/2211.06924; LayerGCN, https://arxiv.org/abs/2207.11088), so that hubs lose more.

    Args:
        rate: share dropped, in [0, 1).
        degree_sensitive: as above; uniform otherwise.
    """

    rate: float
    degree_sensitive: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate must lie in [0, 1), got {self.rate}")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with fewer interactions, their attributes kept along."""
        store = graph["user", "interacts", "video"]
        user, video = store.edge_index
        keep = self._choose(user, video, graph, generator)
        out = copy.copy(graph)
        kept = out["user", "interacts", "video"]
        for key, value in store.items():
            kept[key] = value[:, keep] if key == "edge_index" else value[keep]
        out["video", "rev_interacts", "user"].edge_index = kept.edge_index.flip(0)
        return out

    def _choose(self, user: Tensor, video: Tensor, graph: MultimodalGraph, generator: torch.Generator | None) -> Tensor:
        count = round(len(user) * (1 - self.rate))
        # Gumbel top-k: sampling without replacement with chances ∝ exp(log_chance)
        key = -torch.log(-torch.log(torch.rand(len(user), generator=generator).clamp(1e-12, 1 - 1e-7)))
        if self.degree_sensitive:
            degree_u = torch.bincount(user, minlength=graph.num_users).float()
            degree_v = torch.bincount(video, minlength=graph.num_videos).float()
            key = key - 0.5 * (degree_u[user].log() + degree_v[video].log()).cpu()
        return key.topk(count, sorted=False).indices.sort().values.to(user.device)
