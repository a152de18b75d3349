"""Models that can rank a video nobody has seen."""

from __future__ import annotations

from mmgraph.models.cold.base import ContentModel
from mmgraph.models.cold.clcrec import CLCRec
from mmgraph.models.cold.content_mean import ContentMean
from mmgraph.models.cold.content_vae import ContentVAE
from mmgraph.models.cold.dropoutnet import DropoutNet
from mmgraph.models.cold.hybrid import Hybrid

__all__ = ["CLCRec", "ContentMean", "ContentModel", "ContentVAE", "DropoutNet", "Hybrid"]
