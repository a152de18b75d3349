"""Batches of an epoch, each a pure function of (seed, epoch): that is what makes resuming exact.

To write a sampler of one's own: ``__len__`` and ``epoch(seed, epoch)``, with all chance from
:func:`epoch_generator`; :class:`Draws` draws negatives.
"""

from __future__ import annotations

from mmgraph.graph.samplers.base import Draws, PairBatch, Sampler, epoch_generator
from mmgraph.graph.samplers.covering import PairUserBatch, PairUserSampler
from mmgraph.graph.samplers.histories import HistoryBatch, HistorySampler
from mmgraph.graph.samplers.pairs import PairSampler
from mmgraph.graph.samplers.rows import RowBatch, RowSampler

__all__ = [
    "Draws",
    "HistoryBatch",
    "HistorySampler",
    "PairBatch",
    "PairSampler",
    "PairUserBatch",
    "PairUserSampler",
    "RowBatch",
    "RowSampler",
    "Sampler",
    "epoch_generator",
]
