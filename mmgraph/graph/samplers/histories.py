"""Batches of ordered histories with what came next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmgraph.graph.events import gather
from mmgraph.graph.samplers.base import Draws, epoch_generator
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class HistoryBatch(NamedTuple):
    """Histories and what came next.

    Attributes:
        user: [B] int64.
        video, mask, time: [B, T] as in :class:`~mmgraph.graph.Histories`.
        target: [B, T] int64, the video right after each step, -1 where none is to be predicted. Nothing at or before
            the step tells it.
        negative: [targets, N], a row for each target in the order of ``target[target >= 0]``; [N] where the whole batch
            shares them.
    """

    user: Tensor
    video: Tensor
    mask: Tensor
    time: Tensor
    target: Tensor
    negative: Tensor


class HistorySampler:
    """Ordered histories with next-video targets, once an epoch, in batches of similar length.

    By default a user is one example: the last ``max_len + 1`` events, with a target at every step but the last,
    for models that give a state at every step. With ``prefixes`` each event that has a predecessor is one example:
    its own history of up to ``max_len`` events, and a target at the last step alone; for layers that give one
    vector per history. Users with fewer than two events give none.

    Batches hold about ``batch_size`` *targets*, the unit of the loss and of ``PairSampler``, in whole examples.
    Examples of similar length go together (lengths blurred at random by up to a quarter), so little is padding.

    Args:
        graph: gives the events.
        batch_size: targets a batch.
        max_len: T at most.
        prefixes: as above.
        draws: negatives of the targets; none by default.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        batch_size: int,
        max_len: int = 50,
        prefixes: bool = False,
        draws: Draws | int = 0,
    ) -> None:
        checks.count(batch_size, "batch_size")
        checks.count(max_len, "max_len")
        self.events = events = graph.ordered_events()
        self.graph, self.batch_size, self.prefixes = graph, batch_size, prefixes
        self.draws = Draws(draws) if isinstance(draws, int) else draws
        if prefixes:
            place = torch.arange(len(events.user), device=events.user.device)
            first = events.indptr[events.user]
            last = place[place > first]  # the target of each example
            first = first[last]
        else:
            user = (events.indptr.diff() > 1).nonzero().flatten()
            last, first = events.indptr[user + 1] - 1, events.indptr[user]
        self.start = torch.maximum(first, last - max_len)
        self.length = last - self.start
        self.targets = torch.ones_like(self.length) if prefixes else self.length

    def __len__(self) -> int:
        return -(-int(self.targets.sum()) // self.batch_size)

    def epoch(self, seed: int, epoch: int) -> Iterator[HistoryBatch]:
        """At most ``len(self)`` batches, whose content and order depend on (seed, epoch) alone."""
        generator = epoch_generator(seed, epoch)
        blur = 1 + 0.25 * torch.rand(len(self.length), generator=generator)
        order = (self.length.cpu() * blur).argsort()
        sizes = self.targets.cpu()[order]
        batch = (sizes.cumsum(0) - sizes) // self.batch_size
        counts = torch.unique_consecutive(batch, return_counts=True)[1]
        groups = order.to(self.length.device).split(counts.tolist())
        for index in torch.randperm(len(groups), generator=generator).tolist():
            yield self._batch(groups[index], generator)

    def _batch(self, rows: Tensor, generator: torch.Generator) -> HistoryBatch:
        start, length = self.start[rows], self.length[rows]
        past = gather(self.events, start, length)
        target = gather(self.events, start + 1, length).video
        if self.prefixes:
            step = torch.arange(target.shape[1], device=target.device)
            target = target.masked_fill(step != length.unsqueeze(1) - 1, -1)
        user = self.events.user[start]
        negative = self.draws.of(self.graph, user.repeat_interleave((target >= 0).sum(1)), generator)
        return HistoryBatch(user, past.video, past.mask, past.time, target, negative)
