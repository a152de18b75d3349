"""Models of what comes next."""

from __future__ import annotations

from mmgraph.models.sequential.gru4rec import GRU4Rec
from mmgraph.models.sequential.sasrec import SASRec
from mmgraph.models.sequential.temporal_graph import TemporalGraph
from mmgraph.models.sequential.tisasrec import TiSASRec

__all__ = ["GRU4Rec", "SASRec", "TemporalGraph", "TiSASRec"]
