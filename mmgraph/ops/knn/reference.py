"""The obvious nearest neighbours: the whole cosine matrix, a stable sort."""

from __future__ import annotations

import torch
from torch import Tensor


def knn(query: Tensor, base: Tensor, k: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and rows of the k nearest of each query, ties to the lower row; [Q, k] each.

    Args:
        query: [Q, D] rows of unit length.
        base: [V, D] rows of unit length.
        k: how many.
        hidden: [Q, V] bool, what must not be returned.
    """
    score = (query @ base.T).masked_fill(hidden, -torch.inf)
    value, index = torch.sort(score, dim=1, descending=True, stable=True)
    value, index = value[:, :k], index[:, :k]
    return value, index.masked_fill(value == -torch.inf, -1)
