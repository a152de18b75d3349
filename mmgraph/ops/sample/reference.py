"""The obvious samplers: for one user, the probabilities of all videos; one walker after the other."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from mmgraph.ops.csr import CSR


def probabilities(seen: Tensor, weights: Tensor) -> Tensor:
    """[U, V] the chance of each video to be drawn as a negative: its weight, none where seen, rows summing
    to 1.

    Args:
        seen: [U, V] bool.
        weights: [V] not negative.
    """
    mass = weights.double().expand(seen.shape).masked_fill(seen, 0.0)
    return mass / mass.sum(1, keepdim=True)


def walks(clicks: CSR, seeds: Tensor, k: int, restart: float, chance: Tensor) -> tuple[Tensor, Tensor]:
    """As ``walks.random_walks``: videos and visits [B, k], one walker after the other.

    Args:
        clicks: [U, V].
        seeds: [B].
        k: how many.
        restart: the chance to begin a step at the seed.
        chance: [steps, 3, B, walkers] uniform numbers: restart, the user, his video.
    """
    videos_of: dict[int, list[int]] = {}
    users_of: dict[int, list[int]] = {}
    for user, video in zip(clicks.row_indices().tolist(), clicks.indices.tolist(), strict=True):
        videos_of.setdefault(user, []).append(video)
        users_of.setdefault(video, []).append(user)
    index = torch.full((len(seeds), k), -1, dtype=torch.int64)
    count = torch.zeros(len(seeds), k, dtype=torch.int64)
    for row, seed in enumerate(seeds.tolist()):
        seen: Counter[int] = Counter()
        for walker in range(chance.shape[3]):
            here = seed
            for again, first, second in chance[:, :, row, walker].tolist():
                here = seed if again < restart else here
                if here not in users_of:
                    continue
                users = users_of[here]
                videos = videos_of[users[int(first * len(users))]]
                here = videos[int(second * len(videos))]
                seen[here] += here != seed
        best = sorted((video for video in seen if seen[video]), key=lambda video: (-seen[video], video))[:k]
        for place, video in enumerate(best):
            index[row, place], count[row, place] = video, seen[video]
    return index, count
