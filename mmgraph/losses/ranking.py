"""Losses on scores of chosen and other videos; each a scalar, a mean over its examples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.ops import checks


def scored(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Scores [B] or [B, 1] and [B, N] that belong together.

    Raises:
        TypeError: not floating point.
        ValueError: other shapes, or no negative.
    """
    positive, negative = checks.numbers(positive, None, "positive"), checks.numbers(negative, None, "negative")
    if positive.dim() not in (1, 2) or positive.shape[1:] not in ((), (1,)):
        raise ValueError(f"positive must be [B] or [B, 1], got {list(positive.shape)}, negative {list(negative.shape)}")
    if negative.dim() != 2 or negative.shape[0] != positive.shape[0] or (len(positive) and not negative.shape[1]):
        raise ValueError(f"negative must be [{len(positive)}, N] like positive, N >= 1, got {list(negative.shape)}")
    return positive, negative


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: −mean ln σ(ŷ_ui − ŷ_uj).

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009,
    https://arxiv.org/abs/1205.2618. Formed by softplus, so finite at differences of ±1e3 and beyond.

    Args:
        positive: scores of chosen videos, [B] or [B, 1].
        negative: scores of sampled videos, [B, N].
    """
    positive, negative = scored(positive, negative)
    return F.softplus(negative - positive.reshape(-1, 1)).mean()


def two_way_bpr(positive: Tensor, negative: Tensor, weight: Tensor, reverse: Tensor) -> Tensor:
    """BPR that doubts its pairs: −mean( w ln σ(ŷ_ui − ŷ_uj) + r ln σ(ŷ_uj − ŷ_ui) ).

    Args:
        positive: scores of chosen videos, [B] or [B, 1].
        negative: scores of sampled videos, [B, N].
        weight, reverse: w and r, broadcastable to [B, N].
    """
    positive, negative = scored(positive, negative)
    gap = negative - positive.reshape(-1, 1)
    return (weight * F.softplus(gap) + reverse * F.softplus(-gap)).mean()


def bce(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy on logits: −mean( ln σ(ŷ_ui), ln(1 − σ(ŷ_uj)) ), over positives and negatives together.

    The point-wise loss of He et al., "Neural Collaborative Filtering", WWW 2017, https://arxiv.org/abs/1708.05031.
    Formed by softplus, so finite at logits of ±1e3 and beyond. ln 2 at logits of 0.

    Args:
        positive: logits of chosen videos, [B] or [B, 1].
        negative: logits of sampled videos, [B, N].
    """
    positive, negative = scored(positive, negative)
    return torch.cat([F.softplus(-positive.flatten()), F.softplus(negative.flatten())]).mean()


def embedding_l2(size: int, *embeddings: Tensor) -> Tensor:
    """½ Σ ‖e‖² / B over the embedding rows that a batch reads: BPR's regulariser.

    Args:
        size: B, the batch's pairs.
        embeddings: each [..., D].
    """
    return torch.stack([e.square().sum() for e in embeddings]).sum() / (2 * size)
