"""Models of who watched what."""

from __future__ import annotations

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

__all__ = [
    "BPRMF",
    "DSSM",
    "NGCF",
    "SGL",
    "VGAE",
    "LayerGCN",
    "LightGCL",
    "LightGCN",
    "LightGCNPP",
    "MMoE",
    "MultVAE",
    "NeuMF",
    "PinSage",
    "SimGCL",
    "UltraGCN",
    "XSimGCL",
]
