"""The k largest of rows of scores, in a determined order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.topk import cpu

_WIDE = 16_384  # columns from which two passes are quicker than one
_PADDED = 1 << 16  # the longest list of a catalogue that is shorter: what it lacks is filled up
_NEAR, _FAR = (
    64 << 20,
    1 << 30,
)  # bytes of a block of scores: near a CPU's caches; a device that a call takes long to reach
_PARTS = 8  # a block's rows with ties are settled in so many parts: their keys take three times the scores


class TopK(NamedTuple):
    """The best videos of each user, best first."""

    score: Tensor
    """[B, k] scores; -inf where a user has fewer than k videos to be shown."""
    video: Tensor
    """[B, k] int64 rows of videos; -1 there."""


def best_of(scores: Tensor, k: int) -> TopK:
    """The k largest of each row, best first, ties to the lower column; exact.

    No selection over all columns: they are cut into groups, the k groups with the largest maxima hold the k largest
    scores, and only what is as large is searched: by ``kernel.c`` on CPU, by ``torch.topk`` over the maxima and then
    over their groups elsewhere. There rows with equal scores at the edge of the list are settled by a search over all
    columns.

    Args:
        scores: [B, V] floating point.
        k: how many; the rest is -1 when k > V (up to 65,536).

    Raises:
        TypeError: ``scores`` are not floating point, ``k`` is not a whole number.
        ValueError: not [B, V], or a score among the best is NaN.
    """
    scores = checks.numbers(scores, (None, None), "scores")
    k = length(k, scores.shape[1])
    return best(scores, k, None, None)


def best(scores: Tensor, k: int, seen: CSR | None, users: Tensor | None) -> TopK:
    """:func:`best_of` without what these users have seen; then ``scores`` may be overwritten."""
    rows, width = scores.shape
    wanted, k = k, min(k, width)
    if rows and k and cpu.serves(scores, k):
        value, index = cpu.select(scores, k, seen, users)
        return padded(value.to(scores.dtype), index, wanted)
    if seen is not None and users is not None:
        hidden, _ = seen.select(users)
        scores = scores.contiguous()
        scores.view(-1).index_fill_(0, hidden.row_indices().long() * width + hidden.indices, -torch.inf)
    if k == 0 or rows == 0:
        value = scores.new_full((rows, wanted), -torch.inf)
        return TopK(value, torch.full((rows, wanted), -1, device=scores.device))
    value, index, tied = _unordered_ties(scores, k)
    flaws = int(value.isnan().any() + 2 * tied.any())  # the device is waited for once
    if flaws % 2:
        raise ValueError("a score is NaN: scores, or the user and video rows that they are products of, hold one")
    if flaws:
        # equal scores at the edge of the list: which of them are in it has to be settled by their columns
        for lines in tied.nonzero().squeeze(1).split(max(rows // _PARTS, 1)):
            value[lines], index[lines] = _ordered_ties(scores[lines], k)
    return padded(value, index.masked_fill(value == -torch.inf, -1), wanted)


def padded(value: Tensor, index: Tensor, k: int) -> TopK:
    """A list filled up to ``k``."""
    if value.shape[1] < k:
        short = k - value.shape[1]
        value = torch.nn.functional.pad(value, (0, short), value=-torch.inf)
        index = torch.nn.functional.pad(index, (0, short), value=-1)
    return TopK(value.contiguous(), index.contiguous())


def _unordered_ties(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k best of each row in order, and the rows [B] where another column equals the last of them."""
    width = scores.shape[1]
    column, tied = None, torch.zeros(scores.shape[0], dtype=torch.bool, device=scores.device)
    group = max(1 << (int((width / k) ** 0.5).bit_length() - 1), 32)
    if width >= _WIDE and k * group * 2 <= width:
        # a group is every step-th column, so that the maxima are taken over whole rows of neighbouring numbers
        step = width // group
        whole = step * group
        _top, chosen = _edge(scores[:, :whole].unflatten(1, (group, step)).amax(1), k, tied)
        inside = torch.arange(0, whole, step, device=scores.device)
        column = (chosen.unsqueeze(2) + inside).flatten(1)
        tail = torch.arange(whole, width, device=scores.device).expand(scores.shape[0], -1)
        column = torch.cat([column, tail], 1)
        scores = scores.gather(1, column)
    value, place = _edge(scores, k, tied)
    index = place if column is None else column.gather(1, place)
    index, order = index.sort(dim=1)
    value, order = value.gather(1, order).sort(dim=1, descending=True, stable=True)
    return value, index.gather(1, order), tied


def _edge(scores: Tensor, k: int, tied: Tensor) -> tuple[Tensor, Tensor]:
    """The k largest of each row in any order; marks in ``tied`` the rows where the choice was not unique."""
    if scores.shape[1] <= k:
        place = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape)
        return scores, place
    value, place = scores.topk(k + 1, dim=1)
    # at -inf nothing is returned, so it does not matter which
    tied |= (value[:, k - 1] == value[:, k]) & (value[:, k] > -torch.inf)
    return value[:, :k], place[:, :k]


def _ordered_ties(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row in order, ties to the lower column."""
    if scores.dtype == torch.float64:
        value, index = torch.sort(scores, dim=1, descending=True, stable=True)
        return value[:, :k], index[:, :k]
    keys = _ordered(scores, torch.arange(scores.shape[1], device=scores.device)).topk(k, dim=1).values
    index = -(keys & 0xFFFFFFFF) + 0xFFFFFFFF
    return scores.gather(1, index), index


def _ordered(value: Tensor, index: Tensor) -> Tensor:
    """int64 keys that sort like (value, -index): the bits of the float above, the complement of the index
    below."""
    value = value.float() + 0.0  # -0 and 0 are one value
    bits = value.contiguous().view(torch.int32).long()
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (bits << 32) | (0xFFFFFFFF - index)


def length(k: int, num_videos: int) -> int:
    """``k`` checked: a list may be longer than the catalogue, but not without end."""
    return checks.count(k, "k", 0, max(num_videos, _PADDED))


def room(memory: int | None, device: torch.device) -> int:
    """Bytes of a block of scores: as given, or what suits the device."""
    if memory is None:
        return _NEAR if device.type == "cpu" else _FAR
    return checks.count(memory, "memory")
