"""The obvious top-k: all scores at once, a stable sort."""

from __future__ import annotations

import torch
from torch import Tensor


def topk(user: Tensor, video: Tensor, k: int, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores and rows of the k best videos of each user, ties to the lower row; [B, k] each.

    Args:
        user: [B, D].
        video: [V, D].
        k: how many.
        seen: [B, V] bool, what must not be returned.
    """
    scores = user @ video.T
    if seen is not None:
        scores = scores.masked_fill(seen, -torch.inf)
    value, index = torch.sort(scores, dim=1, descending=True, stable=True)
    value, index = value[:, :k], index[:, :k]
    return value, index.masked_fill(value == -torch.inf, -1)
