"""Each user's edges in order of time: histories to encode, and batches of them to train on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmgraph.graph.samplers import epoch_generator

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Histories(NamedTuple):
    """Users' most recent events, oldest first; real steps come first, padding after.

    Attributes:
        video: [U, T] int64 video rows, -1 where padded.
        mask: [U, T] bool, True where real.
        time: [U, T] float64 UTC seconds, 0 where padded; places 0, 1, 2, … in the user's whole list when the edges
            have no time.
        length: [U] int64, real steps.
    """

    video: Tensor
    mask: Tensor
    time: Tensor
    length: Tensor


class HistoryBatch(NamedTuple):
    """Histories and what came next: user [B]; video, mask, time [B, T] as in :class:`Histories`; target [B, T].

    ``target[b, t]`` is the video right after step t, -1 where none is to be predicted. Nothing at or before step t
    tells it.
    """

    user: Tensor
    video: Tensor
    mask: Tensor
    time: Tensor
    target: Tensor


class OrderedEvents(NamedTuple):
    """All events sorted by (user, time, edge order): indptr [U + 1], user [E], video [E], time [E] float64."""

    indptr: Tensor
    user: Tensor
    video: Tensor
    time: Tensor


def order_events(user: Tensor, video: Tensor, time: Tensor | None, num_users: int) -> OrderedEvents:
    """Sorts edges by (user, time, edge order); without times, by (user, edge order), and time is the place in the list.

    Args:
        user, video: [E] int64 rows.
        time: [E] or None.
        num_users: U.
    """
    by_time = None if time is None else torch.sort(time, stable=True).indices
    order = torch.sort(user if by_time is None else user[by_time], stable=True).indices
    order = order if by_time is None else by_time[order]
    user, video = user[order], video[order]
    indptr = torch.zeros(num_users + 1, dtype=torch.int64, device=user.device)
    indptr[1:] = torch.bincount(user, minlength=num_users).cumsum(0)
    place = torch.arange(len(user), device=user.device) - indptr[user]
    return OrderedEvents(indptr, user, video, (place if time is None else time[order]).double())


def histories(
    graph: MultimodalGraph,
    before: Tensor | float | None = None,
    max_len: int = 50,
    users: Tensor | None = None,
) -> Histories:
    """The last ``max_len`` events of each user strictly before a time, in order of (time, edge order).

    Events at or after ``before`` never appear, in whatever order they are stored. T is the longest history
    returned, at most ``max_len``. No loop over users.

    Args:
        graph: whose ``interacts`` edges are the events.
        before: UTC seconds, one number or one per user, [U] (with ``users``: [len(users)]); None keeps every event.
        max_len: the most recent events kept.
        users: rows wanted, in that order; all when None.

    Returns:
        Histories of U (or len(users)) rows.

    Raises:
        ValueError: ``before`` on a graph whose edges have no time, or of another length, or max_len < 1.
    """
    if max_len < 1:
        raise ValueError(f"max_len must be at least 1, got {max_len}")
    events = graph.ordered_events()
    device = events.video.device
    rows = torch.arange(graph.num_users, device=device) if users is None else users.to(device)
    start, stop = events.indptr[rows], events.indptr[rows + 1]
    if before is not None:
        if "time" not in graph["user", "interacts", "video"]:
            raise ValueError("`before` needs edge times: this graph's interactions have no `time`")
        limit = torch.as_tensor(before, dtype=torch.float64, device=device)
        if limit.dim() and limit.shape != rows.shape:
            raise ValueError(f"before must be one number or [{len(rows)}], one a user; got {list(limit.shape)}")
        stop = start + _count_before(events, rows, limit.expand(len(rows)))
    length = (stop - start).clamp(max=max_len)
    return _gather(events, stop - length, length)


def _count_before(events: OrderedEvents, rows: Tensor, limit: Tensor) -> Tensor:
    """How many events of each user lie before the limit: a binary search in all lists at once."""
    start, stop = events.indptr[rows], events.indptr[rows + 1]
    low, high = start.clone(), stop.clone()
    while bool((low < high).any()):
        middle = (low + high) // 2
        earlier = (low < high) & (events.time[middle.clamp(max=len(events.time) - 1)] < limit)
        low = torch.where(earlier, middle + 1, low)
        high = torch.where(earlier, high, torch.minimum(middle, high))
    return low - start


def _gather(events: OrderedEvents, start: Tensor, length: Tensor) -> Histories:
    """The runs of events [start, start + length) as padded rows."""
    longest = int(length.max()) if len(length) else 0
    step = torch.arange(longest, device=length.device)
    mask = step < length.unsqueeze(1)
    if not len(events.video):
        return Histories(mask.long() - 1, mask, mask.double(), length)
    at = torch.where(mask, start.unsqueeze(1) + step, 0)
    return Histories(events.video[at].masked_fill(~mask, -1), mask, events.time[at].masked_fill(~mask, 0), length)


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
    """

    def __init__(self, graph: MultimodalGraph, batch_size: int, max_len: int = 50, prefixes: bool = False) -> None:
        if batch_size < 1 or max_len < 1:
            raise ValueError(f"batch_size {batch_size} and max_len {max_len} must be at least 1")
        self.events = events = graph.ordered_events()
        self.batch_size, self.prefixes = batch_size, prefixes
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
            yield self._batch(groups[index])

    def _batch(self, rows: Tensor) -> HistoryBatch:
        start, length = self.start[rows], self.length[rows]
        past = _gather(self.events, start, length)
        target = _gather(self.events, start + 1, length).video
        if self.prefixes:
            step = torch.arange(target.shape[1], device=target.device)
            target = target.masked_fill(step != length.unsqueeze(1) - 1, -1)
        return HistoryBatch(self.events.user[start], past.video, past.mask, past.time, target)
