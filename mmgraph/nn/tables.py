"""Tables of rows that are learned: what they begin as."""

from __future__ import annotations

import torch
from torch import nn


def normal_table(rows: int, dim: int, std: float = 0.1) -> nn.Parameter:
    """[rows, dim] from N(0, std²)."""
    return nn.Parameter(std * torch.randn(rows, dim))


def xavier_table(rows: int, dim: int, normal: bool = False) -> nn.Parameter:
    """[rows, dim], uniform or ``normal``, of variance 2/(rows + dim): Glorot and Bengio, AISTATS 2010."""
    fill = nn.init.xavier_normal_ if normal else nn.init.xavier_uniform_
    return nn.Parameter(fill(torch.empty(rows, dim)))
