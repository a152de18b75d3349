"""Models of who watched what."""

from __future__ import annotations

from mmgraph.models.collaborative.bprmf import BPRMF
from mmgraph.models.collaborative.dssm import DSSM
from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.models.collaborative.mmoe import MMoE
from mmgraph.models.collaborative.multvae import MultVAE
from mmgraph.models.collaborative.neumf import NeuMF
from mmgraph.models.collaborative.vgae import VGAE

__all__ = ["BPRMF", "DSSM", "VGAE", "LightGCN", "MMoE", "MultVAE", "NeuMF"]
