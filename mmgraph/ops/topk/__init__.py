"""Score, mask what was seen, keep the k best: block by block, so the full score matrix never exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.topk import cpu, reference

__all__ = ["TopK", "best_of", "topk", "topk_scores"]

_BLOCK_BYTES = 64 << 20
_WIDE = 16_384  # columns from which two passes are quicker than one
_PADDED = 1 << 16  # the longest list of a catalogue that is shorter: what it lacks is filled up


class TopK(NamedTuple):
    """The best videos of each user, best first."""

    score: Tensor
    """[B, k] scores; -inf where a user has fewer than k videos to be shown."""
    video: Tensor
    """[B, k] int64 rows of videos; -1 there."""


def topk(
    user: Tensor,
    video: Tensor,
    k: int,
    *,
    seen: CSR | None = None,
    users: Tensor | None = None,
    candidates: Tensor | None = None,
    memory: int = _BLOCK_BYTES,
    impl: str = "auto",
) -> TopK:
    """The k videos with the highest dot product for each user; exact, and ties go to the lower row.

    On a CPU that multiplies bfloat16, float32 rows are scored in it first, with a bound on the error, and only what the
    bound cannot rule out is scored in float32: the list is the same (see ``cpu.Bounded``).

    Args:
        user: [B, D].
        video: [V, D].
        k: how many; when k > V the rest is -1 (up to 65,536).
        seen: [U, V], the pairs never to be returned.
        users: [B], the row of ``seen`` of each row of ``user``; 0..B-1 by default.
        candidates: [V] bool, the videos that may be returned; all by default.
        memory: bytes that one block of scores may take.
        impl: "auto", or "reference" for the slow version.

    Raises:
        TypeError: ``users`` or ``k`` are not whole numbers, ``candidates`` not bool, ``user`` and ``video`` not of one
            floating point type.
        ValueError: sizes or devices do not fit, a row lies outside ``seen``, or a score is NaN.
    """
    user = checks.numbers(user, None, "user")
    video = checks.numbers(video, None, "video", like=user)
    if user.dim() != 2 or video.dim() != 2 or user.shape[1] != video.shape[1]:
        raise ValueError(f"user and video must be [B, D] and [V, D], got {list(user.shape)}, {list(video.shape)}")
    if user.dtype != video.dtype:
        raise TypeError(f"user and video must be of one type, got {user.dtype} and {video.dtype}")
    k, memory = _length(k, len(video)), checks.count(memory, "memory")
    if users is None:
        users = torch.arange(user.shape[0], device=user.device)
    users = _users(users, seen, len(video), user)
    if users.shape != user.shape[:1]:
        raise ValueError(f"users must be [{user.shape[0]}], got {list(users.shape)}")
    if candidates is not None:
        candidates = checks.flags(candidates, len(video), "candidates", like=user)
    if impl == "reference":
        hidden = torch.zeros(user.shape[0], video.shape[0], dtype=torch.bool, device=user.device)
        if seen is not None:
            rows, _edges = seen.select(users)
            hidden[rows.row_indices().long(), rows.indices.long()] = True
        if candidates is not None:
            hidden |= ~candidates
        best, index = reference.topk(user, video, k, hidden)
        if bool(best.isnan().any()):
            raise ValueError("a score is NaN")
        short = max(k - video.shape[0], 0)
        return TopK(
            torch.nn.functional.pad(best, (0, short), value=-torch.inf),
            torch.nn.functional.pad(index, (0, short), value=-1),
        )
    if impl != "auto":
        raise ValueError(f"topk has impl 'auto' and 'reference', got {impl!r}")
    with torch.no_grad():
        if candidates is None and cpu.Bounded.serves(user, video, k):
            return _bounded(user, video, k, users, seen, memory)
        return _products(user, video, k, users, seen, candidates, memory)


def _products(
    user: Tensor, video: Tensor, k: int, users: Tensor, seen: CSR | None, candidates: Tensor | None, memory: int
) -> TopK:
    transposed = video.T
    buffer = user.new_empty(0)

    def score(place: Tensor) -> Tensor:
        nonlocal buffer
        if buffer.shape[0] < place.numel():
            buffer = user.new_empty(place.numel(), video.shape[0])
        return torch.mm(user[place], transposed, out=buffer[: place.numel()])

    place = torch.arange(user.shape[0], device=user.device)
    return _blocked(score, place, users, video.shape[0], k, seen, candidates, memory, user.element_size())


def _bounded(user: Tensor, video: Tensor, k: int, users: Tensor, seen: CSR | None, memory: int) -> TopK:
    """Blocks by :class:`cpu.Bounded`; the rows it is not certain of, and all from where they are many, by products."""
    best, parts, unsure, start = cpu.Bounded(video, k), [], [], 0
    step = max(1, memory // (2 * video.shape[0]))
    for start in range(0, len(user), step):
        score, column, left = best(user[start : start + step], seen, users[start : start + step])
        parts.append(TopK(score, column))
        unsure.append(left + start)
        if 4 * len(left) > len(score):
            break
    done = sum(len(part.video) for part in parts)
    again = torch.cat([*unsure, torch.arange(done, len(user))])
    out = TopK(torch.cat([p.score for p in parts]), torch.cat([p.video for p in parts]))
    if not len(again):
        return out
    rest = _products(user[again], video, k, users[again], seen, None, memory)
    score, column = user.new_empty(len(user), k), torch.empty(len(user), k, dtype=torch.int64)
    score[:done], column[:done] = out
    score[again], column[again] = rest
    return TopK(score, column)


def topk_scores(
    score: Callable[[Tensor], Tensor],
    users: Tensor,
    num_videos: int,
    k: int,
    *,
    seen: CSR | None = None,
    candidates: Tensor | None = None,
    memory: int = _BLOCK_BYTES,
) -> TopK:
    """As :func:`topk`, for any scorer: any head, any model.

    Args:
        score: takes [b] rows of users, returns [b, V]. The scores may be overwritten.
        users: [B] rows of users, any number, in any order.
        num_videos: V.
        k, seen, candidates, memory: as in :func:`topk`; ``seen`` is indexed by ``users``.

    Raises:
        TypeError: ``users`` or a count are not whole numbers, ``candidates`` not bool, ``score`` gives no numbers.
        ValueError: sizes or devices do not fit, a row lies outside ``seen``, or a score is NaN.
    """
    num_videos = checks.count(num_videos, "num_videos", 0)
    k, memory = _length(k, num_videos), checks.count(memory, "memory")
    users = _users(users, seen, num_videos, None)
    if candidates is not None:
        candidates = checks.flags(candidates, num_videos, "candidates", like=users)
    with torch.no_grad():
        return _blocked(score, users, users, num_videos, k, seen, candidates, memory, 4)


def best_of(scores: Tensor, k: int) -> TopK:
    """The k largest of each row, best first, ties to the lower column; exact.

    No selection over all columns: they are cut into contiguous groups, the k groups with the largest maxima hold the
    k largest scores, and only what is as large is searched (by ``kernel.c`` on CPU). Without the kernel, rows with
    equal scores at the edge of the list are settled by a search over all columns.

    Args:
        scores: [B, V] floating point.
        k: how many; the rest is -1 when k > V (up to 65,536).

    Raises:
        TypeError: ``scores`` are not floating point, ``k`` is not a whole number.
        ValueError: not [B, V], or a score among the best is NaN.
    """
    scores = checks.numbers(scores, (None, None), "scores")
    k = _length(k, scores.shape[1])
    return _best(scores, k, None, None)


def _best(scores: Tensor, k: int, seen: CSR | None, users: Tensor | None) -> TopK:
    """:func:`best_of` without what these users have seen; then ``scores`` may be overwritten."""
    rows, width = scores.shape
    wanted, k = k, min(k, width)
    if rows and k and cpu.serves(scores, k):
        value, index = cpu.select(scores, k, seen, users)
        return _padded(value.to(scores.dtype), index, wanted)
    if seen is not None and users is not None:
        hidden, _ = seen.select(users)
        scores = scores.contiguous()
        scores.view(-1).index_fill_(0, hidden.row_indices().long() * width + hidden.indices, -torch.inf)
    if k == 0 or rows == 0:
        value = scores.new_full((rows, wanted), -torch.inf)
        return TopK(value, torch.full((rows, wanted), -1, device=scores.device))
    value, index, tied = _unordered_ties(scores, k)
    if bool(tied.any()):
        # equal scores at the edge of the list: which of them are in it has to be settled by their columns
        rows = tied.nonzero().squeeze(1)
        value[rows], index[rows] = _ordered_ties(scores[rows], k)
    if bool(value.isnan().any()):
        raise ValueError("a score is NaN")
    return _padded(value, index.masked_fill(value == -torch.inf, -1), wanted)


def _padded(value: Tensor, index: Tensor, k: int) -> TopK:
    if value.shape[1] < k:
        short = k - value.shape[1]
        value = torch.nn.functional.pad(value, (0, short), value=-torch.inf)
        index = torch.nn.functional.pad(index, (0, short), value=-1)
    return TopK(value.contiguous(), index.contiguous())


def _unordered_ties(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k best of each row in order, and the rows [B] where another column equals the last of them."""
    width = scores.shape[1]
    column, tied = None, torch.zeros(scores.shape[0], dtype=torch.bool, device=scores.device)
    group = max(1 << (int((width / k) ** 0.5).bit_length() - 1), 32)  # smaller groups reduce slowly
    if width >= _WIDE and k * group * 2 <= width:
        whole = width // group * group
        _top, chosen = _edge(scores[:, :whole].unflatten(1, (-1, group)).amax(2), k, tied)
        inside = torch.arange(group, device=scores.device)
        column = (chosen.unsqueeze(2) * group + inside).flatten(1)
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


def _length(k: int, num_videos: int) -> int:
    return checks.count(k, "k", 0, max(num_videos, _PADDED))


def _users(users: Tensor, seen: CSR | None, num_videos: int, like: Tensor | None) -> Tensor:
    """The rows of ``seen`` asked for."""
    if seen is None:
        return checks.rows(users, None, "users", like=like)
    if not isinstance(seen, CSR):
        raise TypeError(f"seen must be a CSR, got {type(seen).__name__}: CSR.from_edges makes one")
    if seen.shape[1] != num_videos:
        raise ValueError(f"seen is {list(seen.shape)}, but there are {num_videos} videos")
    return checks.rows(users, seen.shape[0], "users", like=seen if like is None else like)


def _blocked(
    score: Callable[[Tensor], Tensor],
    place: Tensor,
    users: Tensor,
    num_videos: int,
    k: int,
    seen: CSR | None,
    candidates: Tensor | None,
    memory: int,
    element_size: int,
) -> TopK:
    step = max(1, min(users.numel(), memory // max(num_videos * element_size, 1)))
    parts = []
    for start in range(0, users.numel(), step):
        chosen = users[start : start + step]
        scores = checks.numbers(score(place[start : start + step]), None, "what score returned", like=users)
        if scores.shape != (chosen.numel(), num_videos):
            raise ValueError(f"score returned {list(scores.shape)} for {chosen.numel()} users and {num_videos} videos")
        if candidates is not None:
            scores = scores.masked_fill(~candidates, -torch.inf)
        parts.append(_best(scores, k, seen, chosen))
    if not parts:
        device = users.device
        return TopK(torch.empty(0, k, device=device), torch.empty(0, k, dtype=torch.int64, device=device))
    return TopK(torch.cat([part.score for part in parts]), torch.cat([part.video for part in parts]))
