"""Heads: from embeddings to scores. Any propagation takes any head."""

from __future__ import annotations

from torch import Tensor, nn


class Head(nn.Module):
    """Scores users against videos; higher is better.

    A head is called as ``head(user, video)`` with ``user`` [B, D] and ``video`` either [V, D], every video for every
    user, giving [B, V]; or [B, N, D], each user's own candidates, giving [B, N].
    """

    def forward(self, user: Tensor, video: Tensor) -> Tensor:
        """Scores [B, V] or [B, N]."""
        raise NotImplementedError


class DotHead(Head):
    """The dot product: ŷ_uv = uᵀv."""

    def forward(self, user: Tensor, video: Tensor) -> Tensor:
        """Scores [B, V] for ``video`` [V, D], [B, N] for ``video`` [B, N, D]."""
        if video.dim() == 2:
            return user @ video.T
        return (video @ user.unsqueeze(-1)).squeeze(-1)
