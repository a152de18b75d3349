"""Recommenders, one file a paper."""

from __future__ import annotations

from mmgraph.models.base import Embeddings, Recommender, Rows
from mmgraph.models.cold import CLCRec, ContentMean, DropoutNet
from mmgraph.models.cold_start import ColdStart, Platt, fold_in
from mmgraph.models.content_vae import ContentVAE
from mmgraph.models.dssm import DSSM
from mmgraph.models.freedom import FREEDOM
from mmgraph.models.gru4rec import GRU4Rec
from mmgraph.models.lightgcn import BPRMF, LightGCN
from mmgraph.models.mmgcn import MMGCN, HeteroMMGCN
from mmgraph.models.mmoe import MMoE
from mmgraph.models.multvae import VGAE, MultVAE
from mmgraph.models.neighbours import EASE, ItemKNN, Popularity
from mmgraph.models.neumf import NeuMF
from mmgraph.models.sasrec import SASRec
from mmgraph.models.temporal_graph import TemporalGraph
from mmgraph.models.tisasrec import TiSASRec
from mmgraph.models.vbpr import VBPR

__all__ = [
    "BPRMF",
    "DSSM",
    "EASE",
    "FREEDOM",
    "MMGCN",
    "VBPR",
    "VGAE",
    "CLCRec",
    "ColdStart",
    "ContentMean",
    "ContentVAE",
    "DropoutNet",
    "Embeddings",
    "GRU4Rec",
    "HeteroMMGCN",
    "ItemKNN",
    "LightGCN",
    "MMoE",
    "MultVAE",
    "NeuMF",
    "Platt",
    "Popularity",
    "Recommender",
    "Rows",
    "SASRec",
    "TemporalGraph",
    "TiSASRec",
    "fold_in",
]
