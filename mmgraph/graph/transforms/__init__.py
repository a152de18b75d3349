"""Transforms: a graph in, a new graph out."""

from __future__ import annotations

from mmgraph.graph.transforms.base import Transform
from mmgraph.graph.transforms.co_watched import UserCoInteraction, VideoCoInteraction
from mmgraph.graph.transforms.decay import TimeDecay
from mmgraph.graph.transforms.denoised import DenoisedKNN
from mmgraph.graph.transforms.drop import EdgeDrop
from mmgraph.graph.transforms.exposure import CoExposure, Exposures
from mmgraph.graph.transforms.features import (
    FilledFeatures,
    MissingFeatures,
    NoisyFeatures,
    ShuffledFeatures,
    WithoutModalities,
)
from mmgraph.graph.transforms.joined import JoinKNN
from mmgraph.graph.transforms.knn import ModalityKNN
from mmgraph.graph.transforms.scale import ScaleFeatures
from mmgraph.graph.transforms.views import EdgeViews
from mmgraph.graph.transforms.walks import RandomWalkNeighbours

__all__ = [
    "CoExposure",
    "DenoisedKNN",
    "EdgeDrop",
    "EdgeViews",
    "Exposures",
    "FilledFeatures",
    "JoinKNN",
    "MissingFeatures",
    "ModalityKNN",
    "NoisyFeatures",
    "RandomWalkNeighbours",
    "ScaleFeatures",
    "ShuffledFeatures",
    "TimeDecay",
    "Transform",
    "UserCoInteraction",
    "VideoCoInteraction",
    "WithoutModalities",
]
