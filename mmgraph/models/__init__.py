"""Recommenders, one file a paper, in families."""

from __future__ import annotations

from mmgraph.models.base import (
    ALL,
    Embeddings,
    People,
    Recommender,
    Rows,
    batch_rows,
    chosen_modalities,
    pad_rows,
    warm_videos,
)
from mmgraph.models.closed import (
    BSPM,
    EASE,
    GFCF,
    IALS,
    SLIM,
    AddEASE,
    ChebyCF,
    ContentKNN,
    ItemKNN,
    Popularity,
    TurboCF,
)
from mmgraph.models.cold import CLCRec, ContentMean, ContentVAE, DropoutNet
from mmgraph.models.collaborative import BPRMF, DSSM, VGAE, LightGCN, MMoE, MultVAE, NeuMF
from mmgraph.models.fold_in import profile_rows, ridge_users
from mmgraph.models.multimodal import FREEDOM, MMGCN, VBPR, HeteroMMGCN
from mmgraph.models.sequential import GRU4Rec, SASRec, TemporalGraph, TiSASRec

__all__ = [
    "ALL",
    "BPRMF",
    "BSPM",
    "DSSM",
    "EASE",
    "FREEDOM",
    "GFCF",
    "IALS",
    "MMGCN",
    "SLIM",
    "VBPR",
    "VGAE",
    "AddEASE",
    "CLCRec",
    "ChebyCF",
    "ContentKNN",
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
    "People",
    "Popularity",
    "Recommender",
    "Rows",
    "SASRec",
    "TemporalGraph",
    "TiSASRec",
    "TurboCF",
    "batch_rows",
    "chosen_modalities",
    "pad_rows",
    "profile_rows",
    "ridge_users",
    "warm_videos",
]
