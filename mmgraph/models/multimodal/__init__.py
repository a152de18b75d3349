"""Models of who watched what, and of what the videos look, sound and read like."""

from __future__ import annotations

from mmgraph.models.multimodal.freedom import FREEDOM
from mmgraph.models.multimodal.hetero_mmgcn import HeteroMMGCN
from mmgraph.models.multimodal.mmgcn import MMGCN
from mmgraph.models.multimodal.vbpr import VBPR

__all__ = ["FREEDOM", "MMGCN", "VBPR", "HeteroMMGCN"]
