"""Ranking metrics as pure functions of hits; every one is computed for all users at once.

``hits[u, i]`` says whether the video at place i (from 0) of user u's list is one of the user's targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def top_k_metrics(hits: Tensor, num_targets: Tensor, ks: Sequence[int]) -> dict[str, Tensor]:
    """Recall, NDCG, precision, MAP, MRR and hit rate of each user's list, cut at each k.

    With n = number of targets, rel_i = 1 where place i (from 1) is a hit:

    - ``recall@k`` = Σ_{i≤k} rel_i / n
    - ``ndcg@k`` = Σ_{i≤k} rel_i / log2(i + 1), over its maximum Σ_{i≤min(n, k)} 1 / log2(i + 1) (binary gains)
    - ``precision@k`` = Σ_{i≤k} rel_i / k, also where the list is shorter than k
    - ``map@k`` = Σ_{i≤k} rel_i · precision@i / min(n, k)
    - ``mrr@k`` = 1 / place of the first hit, 0 without one among the first k
    - ``hit_rate@k`` = 1 with a hit among the first k, else 0

    Args:
        hits: [n, K] bool, K >= max(ks) or the whole list where it is shorter.
        num_targets: [n] int64, at least 1.
        ks: cut-offs.

    Returns:
        name -> [n] float64.
    """
    rel = hits.double()
    place = torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)
    found = rel.cumsum(1)
    gain = (rel / (place + 1).log2()).cumsum(1)
    precision_at_hits = (rel * found / place).cumsum(1)
    first = torch.where(found == 1, rel, 0.0) / place  # only the first hit's place is left
    reciprocal = first.cumsum(1)
    longest = max(ks)
    ideal = (1 / torch.arange(2, longest + 2, device=hits.device, dtype=torch.float64).log2()).cumsum(0)
    out: dict[str, Tensor] = {}
    for k in ks:
        at = min(k, hits.shape[1]) - 1
        best = num_targets.clamp(max=k)
        out[f"recall@{k}"] = found[:, at] / num_targets
        out[f"ndcg@{k}"] = gain[:, at] / ideal[best - 1]
        out[f"precision@{k}"] = found[:, at] / k
        out[f"map@{k}"] = precision_at_hits[:, at] / best
        out[f"mrr@{k}"] = reciprocal[:, at]
        out[f"hit_rate@{k}"] = (found[:, at] > 0).double()
    return out


def mann_whitney_auc(rank_sum: Tensor, positives: Tensor, candidates: Tensor) -> Tensor:
    """AUC from the sum of the positives' ranks: the chance that a positive scores above a negative.

    AUC = (R − p(p + 1)/2) / (p · q), with p positives, q = candidates − p negatives and R the sum of the positives'
    ranks among all candidates, ranks from 1 at the lowest score, equal scores sharing the mean of their ranks. So a
    tie between a positive and a negative counts one half. NaN where there is no negative or no positive.

    Args:
        rank_sum: R, any shape, float64.
        positives: p, same shape.
        candidates: p + q, same shape.
    """
    p, q = positives.double(), (candidates - positives).double()
    return torch.where(p * q > 0, (rank_sum.double() - p * (p + 1) / 2) / (p * q), torch.nan)


def coverage(exposure: Tensor) -> float:
    """Catalogue coverage: the share of the candidates that stand in at least one list.

    Args:
        exposure: [n] how often each candidate is recommended, zeros included.
    """
    return float((exposure > 0).double().mean())


def gini(exposure: Tensor) -> float:
    """Gini index of how often each candidate is recommended: 0 all alike, (n − 1)/n one video takes all.

    G = Σ_i (2i − n − 1) x_i / (n Σ x), with x sorted upwards and i from 1. NaN when nothing is recommended.

    Args:
        exposure: [n] counts, one a candidate, zeros included.
    """
    x = exposure.double().sort().values
    n = x.numel()
    weight = 2 * torch.arange(1, n + 1, device=x.device, dtype=torch.float64) - n - 1
    total = x.sum()
    return float((weight * x).sum() / (n * total)) if float(total) > 0 else float("nan")


def average_popularity(lists: Tensor, popularity: Tensor) -> Tensor:
    """Mean number of training users of the videos in each list (ARP); NaN for an empty list.

    Args:
        lists: [n, k] video rows, -1 where a list is shorter.
        popularity: [V] training users of each video.

    Returns:
        [n] float64.
    """
    real = lists >= 0
    total = torch.where(real, popularity[lists.clamp(min=0)].double(), 0.0).sum(1)
    return total / real.sum(1)


def new_share(lists: Tensor, new: Tensor) -> Tensor:
    """The share of new videos in each list; NaN for an empty list.

    Args:
        lists: [n, k] video rows, -1 where a list is shorter.
        new: [V] bool, videos without a training user.

    Returns:
        [n] float64.
    """
    real = lists >= 0
    return (real & new[lists.clamp(min=0)]).sum(1).double() / real.sum(1)


def new_recall(
    lists: Tensor, hits: Tensor, target_lines: Tensor, target_videos: Tensor, new: Tensor
) -> tuple[Tensor, Tensor]:
    """Of each list's new targets the share that is in it, and the same of its known targets; NaN without such a target.

    Args:
        lists: [n, k] video rows, -1 where a list is shorter.
        hits: [n, k] bool.
        target_lines, target_videos: [T], the list and the video of every target.
        new: [V] bool, videos without a training user.

    Returns:
        Two times [n] float64.
    """
    is_new = new[lists.clamp(min=0)]
    wanted_new = torch.bincount(target_lines[new[target_videos]], minlength=len(lists))
    wanted_known = torch.bincount(target_lines, minlength=len(lists)) - wanted_new
    return (hits & is_new).sum(1).double() / wanted_new, (hits & ~is_new).sum(1).double() / wanted_known
