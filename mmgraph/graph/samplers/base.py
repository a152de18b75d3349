"""What a sampler is, and how negatives are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from mmgraph.ops import checks, negatives

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class PairBatch(NamedTuple):
    """Users with a video they chose and videos they did not.

    Attributes:
        user: [B] int64.
        positive: [B] int64.
        negative: [B, N] int64; [N] where the whole batch shares them.
    """

    user: Tensor
    positive: Tensor
    negative: Tensor

    @property
    def candidates(self) -> Tensor:
        """Each example's own videos, [B, 1 + N]: the chosen one, then its negatives."""
        return torch.cat([self.positive.unsqueeze(1), self.negative], 1)


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
    seed, epoch = checks.count(seed, "seed", 0), checks.count(epoch, "epoch", 0)
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (2**63))


@dataclass(frozen=True)
class Draws:
    """Which negatives a batch gets.

    Args:
        count: N, a pair or a batch.
        shared: N for the whole batch, from q ∝ (count of the video + 1)^power, positives among them; else N for each
            pair, of the videos that the pair's user has no edge to, in proportion to popularity^power.
        power: 0 is uniform.
    """

    count: int = 1
    shared: bool = False
    power: float = 0.0

    def __post_init__(self) -> None:
        checks.count(self.count, "count", 0)
        checks.number(self.power, "power", 0)

    def share(self, graph: MultimodalGraph) -> Tensor:
        """q of each video under ``shared``, [V]."""
        weight = (graph.seen.transpose().degree().double() + 1) ** self.power
        return (weight / weight.sum()).float()

    def of(self, graph: MultimodalGraph, users: Tensor, generator: torch.Generator) -> Tensor:
        """Negatives of some examples' users [B]: [B, N], or [N].

        Raises:
            ValueError: a user with an edge to every video has none to draw.
        """
        if self.shared:
            drawn = torch.multinomial(self.share(graph).cpu(), self.count, replacement=True, generator=generator)
            return drawn.to(users.device)
        if not self.count:
            return users.new_empty(len(users), 0)
        return negatives(graph.seen, users, self.count, alpha=self.power, generator=generator)
