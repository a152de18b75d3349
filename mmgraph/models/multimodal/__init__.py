"""Models of who watched what, and of what the videos look, sound and read like."""

from __future__ import annotations

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

__all__ = [
    "BM3",
    "COHESION",
    "DAMRS",
    "DRAGON",
    "FREEDOM",
    "GRCN",
    "GUME",
    "LATTICE",
    "MENTOR",
    "MGCN",
    "MICRO",
    "MMGCN",
    "MMSSL",
    "MVGAE",
    "PGL",
    "SMORE",
    "VBPR",
    "DiffMM",
    "DualGNN",
    "HeteroMMGCN",
    "LGMRec",
    "SLMRec",
]
