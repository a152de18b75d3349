"""Temporal layers: from a user's ordered events to one vector, all called ``layer(x, mask, time, query)``."""

from __future__ import annotations

from mmgraph.nn.temporal.base import CausalLayer, TemporalLayer, TimeEncoding
from mmgraph.nn.temporal.pooling import TimeAttention, TimeDecayProfile
from mmgraph.nn.temporal.recurrent import GRUEncoder, LSTMEncoder
from mmgraph.nn.temporal.search import SearchInterest
from mmgraph.nn.temporal.transformer import CausalTransformer, RelativeTransformer

__all__ = [
    "CausalLayer",
    "CausalTransformer",
    "GRUEncoder",
    "LSTMEncoder",
    "RelativeTransformer",
    "SearchInterest",
    "TemporalLayer",
    "TimeAttention",
    "TimeDecayProfile",
    "TimeEncoding",
]
