"""Graphs that are learned: neighbours by cosine of projected features, of videos or of users and videos."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.graph.transforms.knn import symmetric_weights
from mmgraph.ops import CSR, knn


def like_edges(x: Tensor, present: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each row's ``k`` nearest by cosine, itself among them: target [E], source [E], cosine [E].

    Which they are is not differentiable; their cosines are, in ``x``.

    Args:
        x: [V, D].
        present: bool [V]; an absent row neither has nor is a neighbour.
        k: neighbours a row.
    """
    index = knn(x.detach(), min(k, len(x)), present=present, include_self=True).index
    keep = index >= 0
    target = torch.arange(len(x), device=x.device).unsqueeze(1).expand_as(index)[keep]
    source = index[keep]
    unit = F.normalize(x, dim=1)
    return target, source, torch.linalg.vecdot(unit[target], unit[source]).clamp_min(0)


def row_normalised(target: Tensor, source: Tensor, weight: Tensor, size: int) -> CSR:
    """D^-1/2 S D^-1/2 with D the row sums of S, repeated edges added up: CSR [size, size], differentiable in weight."""
    return CSR.from_edges(target, source, (size, size), symmetric_weights(target, source, weight, size))


@torch.no_grad()
def nearest_pairs(user: Tensor, video: Tensor, k: int, of_users: Tensor, of_videos: Tensor) -> CSR:
    """Each user joined to the ``k`` videos of the largest cosine, CSR [U, V] without weights.

    Args:
        user: [U, D].
        video: [V, D].
        k: videos a user.
        of_users, of_videos: who takes part, bool [U] and [V].
    """
    found = knn(video.float(), k, query=user.float(), present=of_videos, query_present=of_users).index
    row, place = (found >= 0).nonzero(as_tuple=True)
    return CSR.from_edges(row, found[row, place], (len(user), len(video)))
