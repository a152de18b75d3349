"""Exposures: videos shown to users, whether or not anybody knows what came of it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True, eq=False)
class Exposures:
    """Adds edges ``(user, exposed, video)``: who was shown what, and when; no label.

    In the Kuaishou user-interest challenge the test videos have no interaction at all, but the test's exposures are
    given without their labels. ``transductive`` says whether those may be used: True joins them to the graph, False
    keeps only the exposures before the test. Results with and without do not compare: among an experiment's transforms,
    True changes its protocol id.

    Args:
        user, video: rows [n] int64.
        time: UTC seconds [n].
        held_out: [n] bool, True for an exposure of the test; none when None.
        transductive: use the held-out exposures too.

    Raises:
        ValueError: lengths that differ.
    """

    user: Tensor
    video: Tensor
    time: Tensor
    held_out: Tensor | None = None
    transductive: bool = False

    def __post_init__(self) -> None:
        sizes = {len(t) for t in (self.user, self.video, self.time, self.held_out) if t is not None}
        if len(sizes) > 1:
            raise ValueError(f"user, video, time and held_out must have one length, got {sorted(sizes)}")

    @property
    def protocol_parameters(self) -> dict[str, bool]:
        """What an experiment's protocol says more because of this transform."""
        return {"transductive_exposure": True} if self.transductive else {}

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them).

        Raises:
            ValueError: rows out of range.
        """
        for name, rows, size in (("user", self.user, graph.num_users), ("video", self.video, graph.num_videos)):
            checks.rows(rows, size, name)
        keep = slice(None) if self.transductive or self.held_out is None else ~self.held_out
        edges = torch.stack([self.user, self.video])[:, keep]
        out = copy.copy(graph)
        out["user", "exposed", "video"].edge_index = edges
        out["user", "exposed", "video"].time = self.time[keep]
        out["video", "rev_exposed", "user"].edge_index = edges.flip(0)
        return out


@dataclass(frozen=True)
class CoExposure:
    """Joins videos shown to the same user close in time: edges ``(video, co_exposed, video)``, both ways.

    w_ij = n_ij / sqrt(n_i n_j), n_ij = how often i and j were shown to one user within ``window`` seconds and ``steps``
    places of each other, n_i = Σ_j n_ij. It reaches a video that nobody has interacted with: the challenge's best
    solutions mean-pooled ±15 exposed photos (`docs/cold-start.md`). A pair of the same video is left out.

    Args:
        window: seconds between the two exposures, at most; infinity for no limit.
        steps: places between them in the user's list, at most.
        k: keep each video's k heaviest neighbours before weighting; all when None.

    Raises:
        TypeError, ValueError: window, steps or k not positive, or no number.
    """

    window: float = math.inf
    steps: int = 15
    k: int | None = None

    def __post_init__(self) -> None:
        if self.window != math.inf:
            checks.number(self.window, "window", 0, above=True)
        checks.count(self.steps, "steps")
        if self.k is not None:
            checks.count(self.k, "k")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them).

        Raises:
            ValueError: the graph has no exposures: apply :class:`Exposures` first.
        """
        if ("user", "exposed", "video") not in graph.edge_types:
            raise ValueError("CoExposure needs (user, exposed, video) edges: apply Exposures first")
        store = graph["user", "exposed", "video"]
        user, video = store.edge_index
        order = torch.argsort(store.time, stable=True)
        order = order[torch.argsort(user[order], stable=True)]
        user, video, time = user[order], video[order], store.time[order]
        size = graph.num_videos
        keys = torch.empty(0, dtype=torch.int64, device=video.device)
        counts = torch.empty(0, dtype=torch.int64, device=video.device)
        for step in range(1, min(self.steps, max(len(user) - 1, 0)) + 1):
            near = (user[:-step] == user[step:]) & (time[step:] - time[:-step] <= self.window)
            a, b = video[:-step][near], video[step:][near]
            a, b = a[a != b], b[a != b]
            found, number = torch.unique(torch.minimum(a, b) * size + torch.maximum(a, b), return_counts=True)
            # merged a step at a time: memory is the number of distinct pairs, not of co-exposures
            keys, at = torch.unique(torch.cat([keys, found]), return_inverse=True)
            counts = torch.zeros_like(keys).index_add_(0, at, torch.cat([counts, number]))
        source, target = torch.cat([keys // size, keys % size]), torch.cat([keys % size, keys // size])
        weight = torch.cat([counts, counts]).float()
        if self.k is not None:
            source, target, weight = _heaviest(source, target, weight, self.k)
        degree_in = torch.zeros(size, device=weight.device).index_add_(0, target, weight)
        degree_out = torch.zeros(size, device=weight.device).index_add_(0, source, weight)
        out = copy.copy(graph)
        edges = out["video", "co_exposed", "video"]
        edges.edge_index = torch.stack([source, target])
        edges.weight = weight / (degree_out[source] * degree_in[target]).sqrt().clamp_min(1e-12)
        return out


def _heaviest(source: Tensor, target: Tensor, weight: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k heaviest edges into each target; equal weights in the order of the sources."""
    order = torch.argsort(source, stable=True)
    order = order[torch.argsort(weight[order], descending=True, stable=True)]
    order = order[torch.argsort(target[order], stable=True)]
    sizes = torch.bincount(target)
    first = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    kept = order[torch.arange(len(order), device=order.device) - first < k]
    return source[kept], target[kept], weight[kept]
