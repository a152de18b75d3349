"""Heads: from embeddings to scores. Any propagation takes any head."""

from __future__ import annotations

from mmgraph.nn.heads.base import CosineHead, DotHead, Head, Products
from mmgraph.nn.heads.mmoe import MMoEHead
from mmgraph.nn.heads.ncf import NCFHead
from mmgraph.nn.heads.vae import VAEHead

__all__ = ["CosineHead", "DotHead", "Head", "MMoEHead", "NCFHead", "Products", "VAEHead"]
