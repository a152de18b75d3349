"""Score, mask what was seen, keep the k best: block by block, so the full score matrix never exists."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.topk import cpu, reference
from mmgraph.ops.topk.index import TopKIndex
from mmgraph.ops.topk.select import TopK, best, best_of, length, room

__all__ = ["TopK", "TopKIndex", "best_of", "topk", "topk_scores"]


def topk(
    user: Tensor,
    video: Tensor,
    k: int,
    *,
    seen: CSR | None = None,
    users: Tensor | None = None,
    candidates: Tensor | None = None,
    memory: int | None = None,
    impl: str = "auto",
) -> TopK:
    """The k videos with the highest dot product for each user; exact, and ties go to the lower row.

    On a CPU that multiplies bfloat16, many float32 rows are scored in it first, with a bound on the error, and only
    what the bound cannot rule out is scored in float32: the list is the same (see :class:`TopKIndex`, which keeps what
    this makes anew at each call).

    Args:
        user: [B, D].
        video: [V, D].
        k: how many; when k > V the rest is -1 (up to 65,536).
        seen: [U, V], the pairs never to be returned.
        users: [B], the row of ``seen`` of each row of ``user``; 0..B-1 by default.
        candidates: [V] bool, the videos that may be returned; all by default.
        memory: bytes that one block of scores may take; by default 64 MiB on CPU, where a block should stay near the
            caches, and 1 GiB on a GPU, where a block should be worth the calls it takes.
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
    k, memory = length(k, len(video)), room(memory, video.device)
    if users is None:
        users = torch.arange(user.shape[0], device=user.device)
    users = _users(users, seen, len(video), user)
    if users.shape != user.shape[:1]:
        raise ValueError(f"users must be [{user.shape[0]}] beside user, got {list(users.shape)}")
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
            raise ValueError("user or video holds a NaN or an infinity: a score is NaN")
        short = max(k - video.shape[0], 0)
        return TopK(
            torch.nn.functional.pad(best, (0, short), value=-torch.inf),
            torch.nn.functional.pad(index, (0, short), value=-1),
        )
    if impl != "auto":
        raise ValueError(f"topk has impl 'auto' and 'reference', got {impl!r}")
    with torch.no_grad():
        if cpu.bounds_pay(user, video, k) and TopKIndex.takes(video):
            return TopKIndex.over(video)._search(user.contiguous(), k, seen, users, candidates, memory)
        return _products(user, video, k, users, seen, candidates, memory)


def _products(
    user: Tensor, video: Tensor, k: int, users: Tensor, seen: CSR | None, candidates: Tensor | None, memory: int
) -> TopK:
    transposed = video.T
    buffer = user.new_empty(0)
    hidden = None if candidates is None else ~candidates

    def score(place: Tensor) -> Tensor:
        nonlocal buffer
        if buffer.shape[0] < place.numel():
            buffer = user.new_empty(place.numel(), video.shape[0])
        scores = torch.mm(user[place], transposed, out=buffer[: place.numel()])
        return scores if hidden is None else scores.masked_fill_(hidden, -torch.inf)

    place = torch.arange(user.shape[0], device=user.device)
    return _blocked(score, place, users, video.shape[0], k, seen, None, memory, user.element_size())


def topk_scores(
    score: Callable[[Tensor], Tensor],
    users: Tensor,
    num_videos: int,
    k: int,
    *,
    seen: CSR | None = None,
    candidates: Tensor | None = None,
    memory: int | None = None,
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
    k = length(k, num_videos)
    users = _users(users, seen, num_videos, None)
    memory = room(memory, users.device)
    if candidates is not None:
        candidates = checks.flags(candidates, num_videos, "candidates", like=users)
    with torch.no_grad():
        return _blocked(score, users, users, num_videos, k, seen, candidates, memory, 4)


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
        parts.append(best(scores, k, seen, chosen))
    if not parts:
        device = users.device
        return TopK(torch.empty(0, k, device=device), torch.empty(0, k, dtype=torch.int64, device=device))
    return TopK(torch.cat([part.score for part in parts]), torch.cat([part.video for part in parts]))
