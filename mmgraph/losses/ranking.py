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


@torch.no_grad()
def doubts(said: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """How much a chosen pair counts, and how much its reverse, from what several views say of it: w and r, [B, 1].

    w = mean_a p_a · exp(−var_a p_a)², p_a what view a says of the chosen video; r = max_a p_a − q where mean_a p_a < q,
    q the batch's mean of what is said of the negatives, else 0; both within [0, 1], without gradient. DA-MRS weighs
    :func:`two_way_bpr` by them (KDD 2024, https://doi.org/10.1145/3637528.3671703).

    Args:
        said: p, in [0, 1], [B, 1 + N, A]: the chosen video first, then N negatives, by A views.
        present: which views there are, bool, of the same shape; at least one of each video.
    """
    said = checks.numbers(said, (None, None, None), "said")
    count = present.sum(-1)
    mean = (said * present).sum(-1) / count
    spread = ((said - mean.unsqueeze(-1)).square() * present).sum(-1) / (count - 1).clamp_min(1)
    other = (said * present)[:, 1:].sum() / present[:, 1:].sum().clamp_min(1)
    best, mean, spread = (said * present).amax(-1)[:, :1], mean[:, :1], spread[:, :1]
    return mean * (-2 * spread).exp(), torch.where(mean < other, (best - other).clamp(0, 1), 0.0)


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
