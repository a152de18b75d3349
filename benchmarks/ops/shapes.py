"""Graphs of the sizes of known data sets, with power-law degrees, generated."""

from __future__ import annotations

import torch

from mmgraph.ops import CSR

# users, videos, pairs (each pair is two directed edges)
SHAPES = {
    "tiktok": (9_308, 6_710, 59_541),
    "gowalla": (29_858, 40_981, 810_128),
    "amazon-book": (52_643, 91_599, 2_380_730),
    "powerlaw-1m": (20_000, 10_000, 500_000),
    "powerlaw-10m": (200_000, 100_000, 5_000_000),
    "powerlaw-50m": (1_000_000, 500_000, 25_000_000),
}


def graph(shape: str, device: str = "cpu") -> CSR:
    """The symmetric-normalised user–video graph of a shape; rows in random order, so no locality is given
    away."""
    users, videos, pairs = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    user = (torch.rand(pairs, generator=generator).pow_(2) * users).long()
    video = (torch.rand(pairs, generator=generator).pow_(3) * videos).long()
    user = torch.randperm(users, generator=generator)[user]
    video = torch.randperm(videos, generator=generator)[video]
    return CSR.bipartite(user, video, (users, videos)).normalized("sym").to(device)


def seen(shape: str, device: str = "cpu") -> CSR:
    """The pairs of a shape, [U, V]."""
    users, videos, pairs = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    user = (torch.rand(pairs, generator=generator).pow_(2) * users).long()
    video = (torch.rand(pairs, generator=generator).pow_(3) * videos).long()
    return CSR.from_edges(user, video, (users, videos)).to(device)
