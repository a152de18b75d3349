"""A user as the mean of what they watched."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.ops import CSR, spmm


def clicks_of_some(clicks: CSR, users: Tensor, videos: Tensor) -> tuple[CSR, Tensor, Tensor]:
    """The clicks of some users over the videos that matter to a batch: those, and everything that the users watched.

    Args:
        clicks: CSR [U, V].
        users: [B], distinct.
        videos: [C], distinct.

    Returns:
        CSR [B, n]; the n videos, ascending; and where ``videos`` lie among them, [C].
    """
    watched, _ = clicks.select(users)
    need = torch.unique(torch.cat([watched.indices.long(), videos]))
    columns = torch.searchsorted(need, watched.indices.long())
    return CSR(watched.indptr, columns, None, (len(users), len(need))), need, torch.searchsorted(need, videos)


def profile_mean(clicks: CSR, video: Tensor, users: Tensor | None = None, without: Tensor | None = None) -> Tensor:
    """Mean of the rows of each user's videos; 0 for a user without one.

    Args:
        clicks: CSR [U, V].
        video: rows, [V, D].
        users: [B] the users wanted; all when None.
        without: [B] a video of each of these users to leave out, for training: what is predicted must not be part of
            what it is predicted from.

    Returns:
        [U, D] or [B, D].
    """
    degree = clicks.degree().to(video.dtype)
    if users is None:
        return spmm(clicks, video) / degree.clamp_min(1).unsqueeze(1)
    distinct, place = torch.unique(users, return_inverse=True)
    total, count = F.embedding(place, spmm(clicks, video, rows=distinct)), degree[users]
    if without is not None:
        total, count = total - F.embedding(without, video), count - 1
    return total / count.clamp_min(1).unsqueeze(1)
