"""What a head is, and the two that have no weights: dot product and cosine."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Scores users against videos; higher is better.

    A head is called as ``head(user, video)`` with ``user`` [B, D] and ``video`` either [V, D], every video for every
    user, giving [B, V]; or [B, N, D], each user's own candidates, giving [B, N]. The same pair gets the same score
    both ways, in training mode too: what is random happens in the models' losses, never here.

    ``objective`` names the pair-wise loss that the head is trained with where a model has no loss of its own:
    ``"bpr"``, ``"bce"`` or ``"softmax"`` (:func:`mmgraph.losses.pair_loss`).
    """

    objective: ClassVar[str] = "bpr"

    def forward(self, user: Tensor, video: Tensor) -> Tensor:
        """Scores [B, V] or [B, N]."""
        raise NotImplementedError


def dot(user: Tensor, video: Tensor) -> Tensor:
    """Dot products [B, V] of ``user`` [B, D] and ``video`` [V, D], or [B, N] for ``video`` [B, N, D]."""
    if video.dim() == 2:
        return user @ video.T
    # not a batch of tiny matrix products: their backward takes ten times as long on CPU
    return torch.linalg.vecdot(video, user.unsqueeze(1))


class DotHead(Head):
    """The dot product: ŷ_uv = uᵀv."""

    def forward(self, user: Tensor, video: Tensor) -> Tensor:
        """Scores [B, V] for ``video`` [V, D], [B, N] for ``video`` [B, N, D]."""
        return dot(user, video)


class CosineHead(Head):
    """Cosine with a temperature: ŷ_uv = cos(u, v) / τ, trained by a softmax over the candidates.

    The score of DSSM's two towers (Huang et al., CIKM 2013, https://doi.org/10.1145/2505515.2505665; γ there is 1/τ).

    Args:
        temperature: τ > 0. Small τ: the hardest negatives count most.

    Raises:
        ValueError: τ is not positive.
    """

    objective = "softmax"

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, user: Tensor, video: Tensor) -> Tensor:
        """Scores in [−1/τ, 1/τ]; 0 against a row of zeros."""
        return dot(F.normalize(user, dim=-1), F.normalize(video, dim=-1)) / self.temperature
