"""Random walks between videos and users: which videos a video's walks visit most."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.sample.chance import uniform

__all__ = ["Visits", "random_walks"]


class Visits(NamedTuple):
    """The most visited videos of each seed, most visited first."""

    video: Tensor
    """[B, k] int64 rows of videos; -1 where fewer were reached."""
    count: Tensor
    """[B, k] int64 visits; 0 there."""


def random_walks(
    clicks: CSR,
    seeds: Tensor,
    k: int,
    *,
    num_walks: int = 50,
    length: int = 2,
    restart: float = 0.0,
    generator: torch.Generator,
    impl: str = "auto",
) -> Visits:
    """The k videos that random walks from each seed visit most, and how often.

    A step goes from a video to one of its users and on to one of his videos, both uniform over the edges; with chance
    ``restart`` the walker is put back onto his seed before it. These are PinSage's importance neighbours (Ying et al.,
    KDD 2018, https://arxiv.org/abs/1806.01973), whose weights are ``count / count.sum(1)``; with a restart the walks
    are Pixie's (Eksombatchai et al., WWW 2018, https://arxiv.org/abs/1711.07601). Visits to the seed itself do not
    count, nor does a walker who cannot go on.

    Args:
        clicks: [U, V]; weights are not read.
        seeds: [B] videos; repeats are allowed.
        k: videos a seed, at most V.
        num_walks: walkers a seed.
        length: steps of each.
        restart: in [0, 1).
        generator: the source of chance; the same state gives the same walks.
        impl: "auto", or "reference" for one walker after the other.

    Raises:
        TypeError: ``seeds`` or a count are not whole numbers.
        ValueError: a seed outside the table, a count or a chance out of range.
    """
    if not isinstance(clicks, CSR):
        raise TypeError(f"clicks must be a CSR, got {type(clicks).__name__}: CSR.from_edges makes one")
    if impl not in ("auto", "reference"):
        raise ValueError(f"random_walks has impl 'auto' and 'reference', got {impl!r}")
    num_videos = clicks.shape[1]
    seeds = checks.rows(seeds, num_videos, "seeds", like=clicks)
    k = checks.count(k, "k", high=max(num_videos, 1))
    num_walks, length = checks.count(num_walks, "num_walks"), checks.count(length, "length")
    if isinstance(restart, bool) or not isinstance(restart, (int, float)) or not 0 <= restart < 1:
        raise ValueError(f"restart must be a chance from 0 up to, not including, 1, got {restart!r}")
    chance = uniform((length, 3, len(seeds), num_walks), generator, clicks.device)
    if impl == "reference":
        from mmgraph.ops.sample import reference

        return Visits(*reference.walks(clicks, seeds, k, restart, chance))
    return _most_visited(_paths(clicks, seeds, restart, chance), seeds, k, num_videos)


def _paths(clicks: CSR, seeds: Tensor, restart: float, chance: Tensor) -> Tensor:
    """[B, walkers · steps] the video after each step; -1 where there was none to go to."""
    back = clicks.transpose()
    home = seeds.unsqueeze(1).expand(chance.shape[2:])
    here, path = home, []
    for again, first, second in chance:
        here = torch.where(again < restart, home, here)
        user = _neighbour(back, here, first)
        there = _neighbour(clicks, user, second)
        path.append(there)
        here = torch.where(there < 0, here, there)
    return torch.cat(path, 1)


def _neighbour(a: CSR, node: Tensor, chance: Tensor) -> Tensor:
    """A neighbour of each node, drawn by uniform numbers; -1 for a node that is -1 or has none."""
    known = node.clamp(min=0)
    degree = a.degree()[known].masked_fill_(node < 0, 0)
    if not a.num_edges:
        return torch.full_like(node, -1)
    step = torch.minimum((chance * degree).long(), (degree - 1).clamp(min=0))
    place = torch.where(degree > 0, a.indptr[known] + step, 0)
    return torch.where(degree > 0, a.indices[place].long(), -1)


def _most_visited(visited: Tensor, seeds: Tensor, k: int, num_videos: int) -> Visits:
    batch = len(seeds)
    owner = torch.arange(batch, device=seeds.device).unsqueeze(1).expand_as(visited)
    kept = (visited >= 0) & (visited != seeds.unsqueeze(1))
    key, count = torch.unique(owner[kept] * max(num_videos, 1) + visited[kept], return_counts=True)
    owner, video = key // max(num_videos, 1), key % max(num_videos, 1)
    order = torch.argsort(count, descending=True, stable=True)  # ties stay in the order of the videos
    order = order[torch.argsort(owner[order], stable=True)]
    owner, video, count = owner[order], video[order], count[order]
    start = torch.searchsorted(owner, torch.arange(batch, device=seeds.device))
    rank = torch.arange(len(owner), device=seeds.device) - start[owner]
    near = rank < k
    out = Visits(seeds.new_full((batch, k), -1), seeds.new_zeros(batch, k))
    out.video[owner[near], rank[near]] = video[near]
    out.count[owner[near], rank[near]] = count[near]
    return out
