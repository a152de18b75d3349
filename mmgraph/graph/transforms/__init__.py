"""Transforms: a graph in, a new graph out."""

from __future__ import annotations

from mmgraph.graph.transforms.base import Transform
from mmgraph.graph.transforms.decay import TimeDecay
from mmgraph.graph.transforms.drop import EdgeDrop
from mmgraph.graph.transforms.exposure import CoExposure, Exposures
from mmgraph.graph.transforms.knn import ModalityKNN
from mmgraph.graph.transforms.scale import ScaleFeatures

__all__ = ["CoExposure", "EdgeDrop", "Exposures", "ModalityKNN", "ScaleFeatures", "TimeDecay", "Transform"]
