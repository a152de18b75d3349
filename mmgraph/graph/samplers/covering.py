"""Pairs beside users, each once an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmgraph.graph.samplers.base import Draws, epoch_generator
from mmgraph.graph.samplers.pairs import PairSampler

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class PairUserBatch(NamedTuple):
    """A :class:`PairBatch`, and some users besides: ``others`` [n] int64."""

    user: Tensor
    positive: Tensor
    negative: Tensor
    others: Tensor


class PairUserSampler:
    """Every training pair once an epoch, as :class:`PairSampler` has it, and beside them every user once an epoch.

    For models with a part that is trained on pairs and one that is trained on whole users.

    Args:
        graph, batch_size, draws: as :class:`PairSampler`.
    """

    def __init__(self, graph: MultimodalGraph, batch_size: int, draws: Draws | int = 1) -> None:
        self.pairs, self.num_users = PairSampler(graph, batch_size, draws), graph.num_users

    def __len__(self) -> int:
        return len(self.pairs)

    def epoch(self, seed: int, epoch: int) -> Iterator[PairUserBatch]:
        """Batches in an order that depends on (seed, epoch) alone; the users in shares of one size, or one less."""
        order = torch.randperm(self.num_users, generator=epoch_generator(seed, epoch)).to(self.pairs.user.device)
        for batch, others in zip(self.pairs.epoch(seed, epoch), order.tensor_split(max(len(self), 1)), strict=True):
            yield PairUserBatch(*batch, others)
