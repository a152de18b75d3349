"""The obvious propagation: every layer in full, all of them kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgraph.ops.csr import CSR
from mmgraph.ops.spmm import spmm


def propagate(a: CSR, x: Tensor, weights: Tensor | Sequence[float], rows: Tensor | None) -> Tensor:
    """``sum over k of weights[k] · Aᵏ x``, then the rows asked for."""
    layers = [x]
    for _ in range(len(weights) - 1):
        layers.append(spmm(a, layers[-1], impl="reference"))
    out = torch.stack([weight * layer for weight, layer in zip(weights, layers)]).sum(0)
    return out if rows is None else out[rows]
