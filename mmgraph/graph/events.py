"""Each user's edges in order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

INTERACTS = ("user", "interacts", "video")  # the edges whose events these are


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
    checks.count(max_len, "max_len")
    events = graph.ordered_events()
    device = events.video.device
    rows = (
        torch.arange(graph.num_users, device=device)
        if users is None
        else checks.rows(users, graph.num_users, "users").to(device)
    )
    start, stop = events.indptr[rows], events.indptr[rows + 1]
    if before is not None:
        if "time" not in graph["user", "interacts", "video"]:
            raise ValueError("`before` needs edge times: this graph's interactions have no `time`")
        limit = checks.times(before, "before").to(device)
        if limit.dim() and limit.shape != rows.shape:
            raise ValueError(f"before must be one number or [{len(rows)}], one a user; got {list(limit.shape)}")
        stop = start + _count_before(events, rows, limit.expand(len(rows)))
    length = (stop - start).clamp(max=max_len)
    return gather(events, stop - length, length)


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


def gather(events: OrderedEvents, start: Tensor, length: Tensor) -> Histories:
    """The runs of events [start, start + length) as padded rows."""
    longest = int(length.max()) if len(length) else 0
    step = torch.arange(longest, device=length.device)
    mask = step < length.unsqueeze(1)
    if not len(events.video):
        return Histories(mask.long() - 1, mask, mask.double(), length)
    at = torch.where(mask, start.unsqueeze(1) + step, 0)
    return Histories(events.video[at].masked_fill(~mask, -1), mask, events.time[at].masked_fill(~mask, 0), length)
