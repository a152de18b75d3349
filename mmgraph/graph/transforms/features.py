"""Features taken away, dealt anew, blurred or filled: what shows what a modality is worth."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from mmgraph.features.standardise import Standardiser

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

Missing = Literal["random", "unpopular", "value"]


@dataclass(frozen=True)
class WithoutModalities:
    """No video has these modalities any more; their node types stay, empty, so that a trained model still fits.

    Attributes:
        modalities: which.
    """

    modalities: tuple[str, ...]

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph without their ``has`` edges.

        Raises:
            KeyError: the graph has no such modality.
        """
        for modality in _chosen(graph, self.modalities):
            graph = _kept(graph, modality, torch.zeros(len(graph[modality].x), dtype=torch.bool))
        return graph


@dataclass(frozen=True)
class ShuffledFeatures:
    """Deals the features of these modalities to the videos that have them at random: all as before, but meaningless.

    Attributes:
        modalities: which, each dealt on its own.
    """

    modalities: tuple[str, ...]

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with their rows in another order.

        Raises:
            KeyError: the graph has no such modality.
        """
        out = copy.copy(graph)
        for modality in _chosen(graph, self.modalities):
            x = graph[modality].x
            out[modality].x = x[torch.randperm(len(x), generator=generator).to(x.device)]
        return out


@dataclass(frozen=True)
class NoisyFeatures:
    """x + s σ ε, ε standard normal, σ each column's standard deviation over the videos that have the modality.

    Attributes:
        modalities: which.
        scale: s; 1 has as much noise as signal.
    """

    modalities: tuple[str, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale >= 0:
            raise ValueError(f"scale={self.scale}: how much noise, 0 or more")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with noise on their rows.

        Raises:
            KeyError: the graph has no such modality.
        """
        out = copy.copy(graph)
        for modality in _chosen(graph, self.modalities):
            x = graph[modality].x
            noise = torch.randn(x.shape, generator=generator).to(x)
            out[modality].x = x + self.scale * x.std(0, correction=0) * noise if len(x) else x
        return out


@dataclass(frozen=True)
class MissingFeatures:
    """A share of the videos that have a modality lack it: of n, the first round(rate · n) in an order.

    Under one seed the videos that lack it at a rate also lack it at every higher one. Of several modalities each loses
    its own videos. The orders, after Rubin (Biometrika 1976, https://doi.org/10.1093/biomet/63.3.581):

    - ``random``: at random, whatever the video;
    - ``unpopular``: videos with the fewest interactions first, equal ones at random: where metadata is poor;
    - ``value``: not at random, by what would be seen: the highest place on the first principal axis of the modality's
      standardised features first.

    Attributes:
        rate: in [0, 1].
        how: the order.
        modalities: which; None for all.
    """

    rate: float
    how: Missing = "random"
    modalities: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate={self.rate}: a share of the videos, in [0, 1]")
        if self.how not in get_args(Missing):
            raise ValueError(f"how={self.how!r}: use one of {', '.join(get_args(Missing))}")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with fewer ``has`` edges.

        Raises:
            KeyError: the graph has no such modality.
        """
        activity = graph.seen.transpose().degree()
        for modality in _chosen(graph, self.modalities):
            x, edges = graph[modality].x, graph["video", "has", modality].edge_index
            chance = torch.rand(len(x), generator=generator)
            owner = torch.empty(len(x), dtype=torch.int64).index_copy_(0, edges[1].cpu(), edges[0].cpu())
            if self.how == "random":
                order = chance
            elif self.how == "unpopular":
                order = activity.cpu()[owner].double() + chance / 2
            else:
                order = -_principal(x.cpu())
            gone = order.sort(stable=True).indices[: round(self.rate * len(x))]
            keep = torch.ones(len(x), dtype=torch.bool).index_fill_(0, gone, False)
            graph = _kept(graph, modality, keep)
        return graph


@dataclass(frozen=True)
class FilledFeatures:
    """Every video that lacks a modality gets the mean of those that have it, or zeros: what a mask is compared with.

    Attributes:
        by: ``zero`` or ``mean``.
        modalities: which; None for all.
    """

    by: Literal["zero", "mean"] = "zero"
    modalities: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.by not in ("zero", "mean"):
            raise ValueError(f"by={self.by!r}: use 'zero' or 'mean'")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph in which every video has them.

        Raises:
            KeyError: the graph has no such modality.
        """
        out = copy.copy(graph)
        for modality in _chosen(graph, self.modalities):
            found = graph.features(modality)
            fill = found.values.new_zeros(found.values.shape[1])
            if self.by == "mean" and bool(found.present.any()):
                fill = found.values[found.present].mean(0)
            out[modality].x = torch.where(found.present.unsqueeze(1), found.values, fill)
            every = torch.arange(graph.num_videos, device=found.values.device)
            _link(out, modality, torch.stack([every, every]))
        return out


def _chosen(graph: MultimodalGraph, modalities: Sequence[str] | None) -> list[str]:
    if isinstance(modalities, str):
        raise TypeError(f"modalities={modalities!r}: give their names in a tuple, as ({modalities!r},)")
    chosen = list(graph.modalities if modalities is None else modalities)
    unknown = [name for name in chosen if name not in graph.modalities]
    if unknown:
        raise KeyError(f"no modality {', '.join(map(repr, unknown))} in this graph; it has {graph.modalities}")
    return chosen


def _kept(graph: MultimodalGraph, modality: str, keep: Tensor) -> MultimodalGraph:
    """The graph with the modality nodes where ``keep`` [n] says so, and their edges."""
    out, edges = copy.copy(graph), graph["video", "has", modality].edge_index
    keep = keep.to(edges.device)
    place = keep.cumsum(0) - 1
    mine = keep[edges[1]]
    out[modality].x = graph[modality].x[keep.to(graph[modality].x.device)]
    _link(out, modality, torch.stack([edges[0][mine], place[edges[1][mine]]]))
    return out


def _link(graph: MultimodalGraph, modality: str, edges: Tensor) -> None:
    graph["video", "has", modality].edge_index = edges
    graph[modality, "rev_has", "video"].edge_index = edges.flip(0)


def _principal(x: Tensor) -> Tensor:
    """[n]: the place of each row on the first principal axis, whose largest loading is positive."""
    if len(x) < 2:
        return x.new_zeros(len(x))
    z = Standardiser.fit(x.double())(x.double())
    axis = torch.linalg.eigh(z.T @ z).eigenvectors[:, -1]
    return z @ (axis * axis[axis.abs().argmax()].sign())
