"""Interactions weighted by age."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


DAY = 86_400.0


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
        checks.number(self.half_life, "half_life", 0, above=True)

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
