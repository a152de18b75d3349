"""Features on one scale."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmgraph.features.standardise import Standardiser

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


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
