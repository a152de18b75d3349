"""Layers: modules that hold parameters and call ops."""

from __future__ import annotations

from mmgraph.nn.conv import ModalityConv, RelationConv
from mmgraph.nn.heads import DotHead, Head

__all__ = ["DotHead", "Head", "ModalityConv", "RelationConv"]
