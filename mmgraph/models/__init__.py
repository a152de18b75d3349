"""Recommenders, one file a paper, in families."""

from __future__ import annotations

from mmgraph.models.base import (
    ALL,
    ByColumns,
    Embeddings,
    People,
    Recommender,
    Rows,
    batch_rows,
    chosen_modalities,
    pad_rows,
    warm_videos,
)
from mmgraph.models.closed.addease import AddEASE
from mmgraph.models.closed.bspm import BSPM
from mmgraph.models.closed.chebycf import ChebyCF
from mmgraph.models.closed.contentknn import ContentKNN
from mmgraph.models.closed.ease import EASE
from mmgraph.models.closed.gfcf import GFCF
from mmgraph.models.closed.ials import IALS
from mmgraph.models.closed.itemknn import ItemKNN
from mmgraph.models.closed.popularity import Popularity
from mmgraph.models.closed.slim import SLIM
from mmgraph.models.closed.turbocf import TurboCF
from mmgraph.models.cold.clcrec import CLCRec
from mmgraph.models.cold.content_mean import ContentMean
from mmgraph.models.cold.content_vae import ContentVAE
from mmgraph.models.cold.dropoutnet import DropoutNet
from mmgraph.models.cold.hybrid import Hybrid
from mmgraph.models.collaborative.bprmf import BPRMF
from mmgraph.models.collaborative.contrastive import SGL, SimGCL, XSimGCL
from mmgraph.models.collaborative.dssm import DSSM
from mmgraph.models.collaborative.layergcn import LayerGCN
from mmgraph.models.collaborative.lightgcl import LightGCL
from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.models.collaborative.lightgcnpp import LightGCNPP
from mmgraph.models.collaborative.mmoe import MMoE
from mmgraph.models.collaborative.multvae import MultVAE
from mmgraph.models.collaborative.neumf import NeuMF
from mmgraph.models.collaborative.ngcf import NGCF
from mmgraph.models.collaborative.pinsage import PinSage
from mmgraph.models.collaborative.ultragcn import UltraGCN
from mmgraph.models.collaborative.vgae import VGAE
from mmgraph.models.fold_in import profile_rows, ridge_users
from mmgraph.models.multimodal.bm3 import BM3
from mmgraph.models.multimodal.cohesion import COHESION
from mmgraph.models.multimodal.damrs import DAMRS
from mmgraph.models.multimodal.diffmm import DiffMM
from mmgraph.models.multimodal.dualgnn import DRAGON, DualGNN
from mmgraph.models.multimodal.freedom import FREEDOM
from mmgraph.models.multimodal.grcn import GRCN
from mmgraph.models.multimodal.gume import GUME
from mmgraph.models.multimodal.hetero_mmgcn import HeteroMMGCN
from mmgraph.models.multimodal.lattice import LATTICE, MICRO
from mmgraph.models.multimodal.lgmrec import LGMRec
from mmgraph.models.multimodal.mentor import MENTOR
from mmgraph.models.multimodal.mgcn import MGCN
from mmgraph.models.multimodal.mmgcn import MMGCN
from mmgraph.models.multimodal.mmssl import MMSSL
from mmgraph.models.multimodal.mvgae import MVGAE
from mmgraph.models.multimodal.pgl import PGL
from mmgraph.models.multimodal.slmrec import SLMRec
from mmgraph.models.multimodal.smore import SMORE
from mmgraph.models.multimodal.vbpr import VBPR
from mmgraph.models.sequential.gru4rec import GRU4Rec
from mmgraph.models.sequential.sasrec import SASRec
from mmgraph.models.sequential.temporal_graph import TemporalGraph
from mmgraph.models.sequential.tisasrec import TiSASRec

__all__ = [
    "ALL",
    "BM3",
    "BPRMF",
    "BSPM",
    "COHESION",
    "DAMRS",
    "DRAGON",
    "DSSM",
    "EASE",
    "FREEDOM",
    "GFCF",
    "GRCN",
    "GUME",
    "IALS",
    "LATTICE",
    "MENTOR",
    "MGCN",
    "MICRO",
    "MMGCN",
    "MMSSL",
    "MVGAE",
    "NGCF",
    "PGL",
    "SGL",
    "SLIM",
    "SMORE",
    "VBPR",
    "VGAE",
    "AddEASE",
    "ByColumns",
    "CLCRec",
    "ChebyCF",
    "ContentKNN",
    "ContentMean",
    "ContentVAE",
    "DiffMM",
    "DropoutNet",
    "DualGNN",
    "Embeddings",
    "GRU4Rec",
    "HeteroMMGCN",
    "Hybrid",
    "ItemKNN",
    "LGMRec",
    "LayerGCN",
    "LightGCL",
    "LightGCN",
    "LightGCNPP",
    "MMoE",
    "MultVAE",
    "NeuMF",
    "People",
    "PinSage",
    "Popularity",
    "Recommender",
    "Rows",
    "SASRec",
    "SLMRec",
    "SimGCL",
    "TemporalGraph",
    "TiSASRec",
    "TurboCF",
    "UltraGCN",
    "XSimGCL",
    "batch_rows",
    "chosen_modalities",
    "pad_rows",
    "profile_rows",
    "ridge_users",
    "warm_videos",
]
