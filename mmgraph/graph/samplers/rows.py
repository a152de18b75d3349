"""Whole interaction rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmgraph.graph.samplers.base import epoch_generator
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class RowBatch(NamedTuple):
    """Whole interaction rows: user [B], and ``row`` [B, V] of zeros and ones (dense)."""

    user: Tensor
    row: Tensor


class RowSampler:
    """Every user that has an interaction once an epoch, with the whole row of their videos."""

    def __init__(self, graph: MultimodalGraph, batch_size: int) -> None:
        checks.count(batch_size, "batch_size")
        self.seen, self.batch_size = graph.seen, batch_size
        self.users = (self.seen.indptr.diff() > 0).nonzero().flatten()

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def epoch(self, seed: int, epoch: int) -> Iterator[RowBatch]:
        """Batches of users and their rows, in an order that depends on (seed, epoch) alone."""
        order = torch.randperm(len(self.users), generator=epoch_generator(seed, epoch))
        for users in self.users[order.to(self.users.device)].split(self.batch_size):
            yield RowBatch(users, self.seen.select(users)[0].dense().clamp(max=1.0))
