"""Layers: modules that hold parameters and call ops."""

from __future__ import annotations

from mmgraph.nn.conv import ModalityConv, RelationConv
from mmgraph.nn.heads import CosineHead, DotHead, Head, MMoEHead, NCFHead, VAEHead
from mmgraph.nn.vae import GaussianLayer, anneal, product_of_experts, reparameterise

__all__ = [
    "CosineHead",
    "DotHead",
    "GaussianLayer",
    "Head",
    "MMoEHead",
    "ModalityConv",
    "NCFHead",
    "RelationConv",
    "VAEHead",
    "anneal",
    "product_of_experts",
    "reparameterise",
]
