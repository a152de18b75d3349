"""Objectives: how the scores of a batch become named loss terms, and which negatives a batch needs.

An objective is an argument of every trained model::

    LightGCN(graph, objective=SampledSoftmax(temperature=0.12, cosine=True))
    SASRec(graph, objective=BCE(negatives=1))

To write one, subclass :class:`Objective`: say what to draw and give the terms.
"""

from __future__ import annotations

from mmgraph.losses.softmax import SoftmaxSample
from mmgraph.objectives.base import Examples, Objective
from mmgraph.objectives.pairs import BCE, BPR, CosineContrastive, DrawnPairs, MaxMargin
from mmgraph.objectives.softmax import FullSoftmax, SampledSoftmax
from mmgraph.objectives.temperature import AdaptiveTemperature, lambert_w
from mmgraph.objectives.uniformity import AlignmentUniformity

__all__ = [
    "BCE",
    "BPR",
    "AdaptiveTemperature",
    "AlignmentUniformity",
    "CosineContrastive",
    "DrawnPairs",
    "Examples",
    "FullSoftmax",
    "MaxMargin",
    "Objective",
    "SampledSoftmax",
    "SoftmaxSample",
    "lambert_w",
]
