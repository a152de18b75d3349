"""Batches of an epoch, each a pure function of (seed, epoch): that is what makes resuming exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class PairBatch(NamedTuple):
    """Users with a video they chose and videos they did not: user [B], positive [B], negative [B, N]."""

    user: Tensor
    positive: Tensor
    negative: Tensor


class RowBatch(NamedTuple):
    """Whole interaction rows: user [B], and ``row`` [B, V] of zeros and ones (dense)."""

    user: Tensor
    row: Tensor


class Sampler(Protocol):
    """What ``fit`` iterates over."""

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def epoch(self, seed: int, epoch: int) -> Iterator[tuple]:
        """The batches of one epoch; the same (seed, epoch) always gives the same batches."""
        ...


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A CPU generator whose stream depends on (seed, epoch) alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (2**63))


class PairSampler:
    """Every training pair once an epoch, in random order, each with ``num_negatives`` sampled videos.

    Negatives are uniform over the videos the user has no edge to (a user with an edge to every video keeps
    whatever the last of ``tries`` draws gave). Training pairs are those of the graph it is made from.

    Args:
        graph: gives the pairs; U, V.
        batch_size: B; the last batch may be smaller.
        num_negatives: N.
        tries: how often a draw that hit a positive is redrawn.
    """

    def __init__(self, graph: MultimodalGraph, batch_size: int, num_negatives: int = 1, tries: int = 10) -> None:
        if batch_size < 1 or num_negatives < 1:
            raise ValueError(f"batch_size {batch_size} and num_negatives {num_negatives} must be at least 1")
        self.user, self.video = graph.interactions()
        self.num_videos = graph.num_videos
        self.batch_size, self.num_negatives, self.tries = batch_size, num_negatives, tries
        self.keys = torch.unique(self.user * self.num_videos + self.video)

    def __len__(self) -> int:
        return -(-len(self.user) // self.batch_size)

    def epoch(self, seed: int, epoch: int) -> Iterator[PairBatch]:
        """Batches of pairs, in an order and with negatives that depend on (seed, epoch) alone."""
        generator = epoch_generator(seed, epoch)
        device = self.user.device
        order = torch.randperm(len(self.user), generator=generator).to(device)
        user, positive = self.user[order], self.video[order]
        negative = self._negatives(user, generator)
        for start in range(0, len(user), self.batch_size):
            at = slice(start, start + self.batch_size)
            yield PairBatch(user[at], positive[at], negative[at])

    def _negatives(self, user: Tensor, generator: torch.Generator) -> Tensor:
        def draw(count: int) -> Tensor:
            return torch.randint(self.num_videos, (count,), generator=generator).to(user.device)

        users = user.repeat_interleave(self.num_negatives)
        drawn = draw(len(users))
        todo = torch.arange(len(users), device=user.device)
        for _ in range(self.tries):
            key = users[todo] * self.num_videos + drawn[todo]
            at = torch.searchsorted(self.keys, key).clamp_(max=len(self.keys) - 1)
            todo = todo[self.keys[at] == key]
            if not len(todo):
                break
            drawn[todo] = draw(len(todo))
        return drawn.view(-1, self.num_negatives)


class RowSampler:
    """Every user that has an interaction once an epoch, with the whole row of their videos."""

    def __init__(self, graph: MultimodalGraph, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.seen, self.batch_size = graph.seen, batch_size
        self.users = (self.seen.indptr.diff() > 0).nonzero().flatten()

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def epoch(self, seed: int, epoch: int) -> Iterator[RowBatch]:
        """Batches of users and their rows, in an order that depends on (seed, epoch) alone."""
        order = torch.randperm(len(self.users), generator=epoch_generator(seed, epoch))
        for users in self.users[order.to(self.users.device)].split(self.batch_size):
            yield RowBatch(users, self.seen.select(users)[0].dense().clamp(max=1.0))
