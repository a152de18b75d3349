"""The graph: building it, transforming it, sampling from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmgraph.graph.build import build_graph
from mmgraph.graph.events import Histories
from mmgraph.graph.samplers import (
    Draws,
    HistoryBatch,
    HistorySampler,
    PairBatch,
    PairSampler,
    PairUserBatch,
    PairUserSampler,
    RowBatch,
    RowSampler,
    Sampler,
    epoch_generator,
)
from mmgraph.graph.transforms import (
    CoExposure,
    DenoisedKNN,
    EdgeDrop,
    EdgeViews,
    Exposures,
    FilledFeatures,
    JoinKNN,
    MissingFeatures,
    ModalityKNN,
    NoisyFeatures,
    RandomWalkNeighbours,
    ScaleFeatures,
    ShuffledFeatures,
    TimeDecay,
    Transform,
    UserCoInteraction,
    VideoCoInteraction,
    WithoutModalities,
)

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph as MultimodalGraph

__all__ = [
    "CoExposure",
    "DenoisedKNN",
    "Draws",
    "EdgeDrop",
    "EdgeViews",
    "Exposures",
    "FilledFeatures",
    "Histories",
    "HistoryBatch",
    "HistorySampler",
    "JoinKNN",
    "MissingFeatures",
    "ModalityKNN",
    "MultimodalGraph",
    "NoisyFeatures",
    "PairBatch",
    "PairSampler",
    "PairUserBatch",
    "PairUserSampler",
    "RandomWalkNeighbours",
    "RowBatch",
    "RowSampler",
    "Sampler",
    "ScaleFeatures",
    "ShuffledFeatures",
    "TimeDecay",
    "Transform",
    "UserCoInteraction",
    "VideoCoInteraction",
    "WithoutModalities",
    "build_graph",
    "epoch_generator",
]


def __getattr__(name: str):
    if name == "MultimodalGraph":  # torch_geometric takes seconds to import: only when it is asked for
        from mmgraph.graph.multimodal import MultimodalGraph

        return MultimodalGraph
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
