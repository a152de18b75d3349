"""The obvious sampler: for one user, the probabilities of all videos."""

from __future__ import annotations

import torch
from torch import Tensor


def probabilities(seen: Tensor, weights: Tensor) -> Tensor:
    """[U, V] the chance of each video to be drawn as a negative: its weight, none where seen, rows summing
    to 1.

    Args:
        seen: [U, V] bool.
        weights: [V] not negative.
    """
    mass = weights.double().expand(seen.shape).masked_fill(seen, 0.0)
    return mass / mass.sum(1, keepdim=True)


def visits(walks: Tensor, nodes: int) -> Tensor:
    """[B, N] how often each node occurs in the walks [B, W, T] of each seed."""
    out = torch.zeros(walks.shape[0], nodes, dtype=torch.int64)
    for row, seen in enumerate(walks):
        for node in seen.flatten().tolist():
            out[row, node] += 1
    return out
