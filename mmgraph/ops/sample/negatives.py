"""Negatives: uniform or by popularity, never a positive; and the chance of in-batch ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.sample.chance import uniform

__all__ = ["Negatives", "log_q", "negatives"]


class Negatives:
    """Draws videos that a user has not seen, in proportion to a weight; exact, without rejection.

    The weights become integers. With ``C`` their running sum and ``p_0 < p_1 < …`` the positives of a
    user, a draw is a uniform integer ``r`` below the mass of what is not positive; ``s`` = the positives
    whose preceding mass of non-positives is at most ``r``; the video is where ``C`` first exceeds ``r`` +
    the mass of those ``s``. Both are binary searches, one for all users at once.

    Args:
        seen: [U, V] positive pairs.
        weights: [V] not negative, e.g. ``degree ** 0.75``; None for uniform. Resolution: 1 part in 2^62 /
            U.

    Raises:
        ValueError: a weight is negative or not finite, or all are zero.
    """

    def __init__(self, seen: CSR, weights: Tensor | None = None) -> None:
        if not isinstance(seen, CSR):
            raise TypeError(f"seen must be a CSR, got {type(seen).__name__}: CSR.from_edges makes one")
        users, videos = seen.shape
        device = seen.device
        if weights is None:
            mass = torch.ones(videos, dtype=torch.int64, device=device)
        else:
            wide = checks.numbers(weights, (videos,), "weights", like=seen).double()
            if not bool(torch.isfinite(wide).all()) or bool((wide < 0).any()) or float(wide.sum()) <= 0:
                raise ValueError("weights must be finite, not negative, and not all zero")
            budget = float(min(2**62 // max(users, 1) // 4, 2**48))
            mass = (wide / wide.sum() * budget).ceil().long()
        self.num_users, self.num_videos, self.uniform = users, videos, weights is None
        self.cumulative = torch.cumsum(mass, 0)
        self.total = int(self.cumulative[-1]) if videos else 0
        self.stride = self.total + 1
        row, col = seen.row_indices().long(), seen.indices.long()
        if row.numel():
            first = torch.ones_like(row, dtype=torch.bool)
            first[1:] = (row[1:] != row[:-1]) | (col[1:] != col[:-1])
            row, col = row[first], col[first]
        own = mass[col]
        before = torch.cumsum(own, 0) - own  # mass of all earlier positives, of earlier users too
        self.start = torch.searchsorted(row, torch.arange(users + 1, device=device))
        padded = torch.cat([before, (before[-1:] + own[-1:]) if row.numel() else before.new_zeros(1)])
        self.offset = padded[self.start[:-1]]
        self.positive_mass = padded
        inside = before - self.offset[row]
        self.keys = row * self.stride + (self.cumulative[col] - own - inside)
        self.left = self.total - (padded[self.start[1:]] - self.offset)

    def sample(self, users: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """[B, count] int64 rows of videos, independent draws.

        Raises:
            TypeError: ``users`` or ``count`` are not whole numbers.
            ValueError: a user outside the table, or one with nothing left to draw.
        """
        users = checks.rows(users, self.num_users, "users", like=self.keys)
        count = checks.count(count, "count", 0)
        left = self.left[users]
        if users.numel() and int(left.min()) <= 0:
            raise ValueError(f"user row {int(users[left.argmin()])} has no negative left to draw")
        draw = uniform((users.numel(), count), generator, self.keys.device)
        draw = torch.minimum((draw * left.unsqueeze(1)).long(), (left - 1).unsqueeze(1))
        base = users.unsqueeze(1)
        place = torch.searchsorted(self.keys, base * self.stride + draw, right=True)
        draw = draw + self.positive_mass[place] - self.offset[users].unsqueeze(1)
        # under masses of one, where C first exceeds a number is that number
        return draw if self.uniform else torch.searchsorted(self.cumulative, draw, right=True)


def negatives(seen: CSR, users: Tensor, count: int, *, alpha: float = 0.0, generator: torch.Generator) -> Tensor:
    """[B, count] videos that ``users`` [B] have not seen, drawn in proportion to popularity ** alpha.

    ``alpha=0`` is uniform over all videos; otherwise a video that nobody has seen is never drawn. The
    tables are cached on ``seen``.

    Raises:
        TypeError: no CSR, no whole numbers, an ``alpha`` that is no number.
        ValueError: a user has no negative left, or ``alpha`` where nobody has seen anything.
    """
    checks.matrix(seen, "seen")
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise TypeError(f"alpha must be a finite number, got {alpha!r}")
    if alpha and not seen.num_edges:
        raise ValueError("seen holds no edge, so that no video is popular: draw with alpha=0")
    key = f"negatives {float(alpha)}"
    if key not in seen._cache:
        popularity = torch.bincount(seen.indices, minlength=seen.shape[1]).double()
        seen._cache[key] = Negatives(seen, None if alpha == 0 else popularity.pow(alpha) * (popularity > 0))
    return seen._cache[key].sample(users, count, generator)


def log_q(counts: Tensor, videos: Tensor) -> Tensor:
    """``log q_j``, the log-chance that a random training pair holds video j; shape of ``videos``.

    Args:
        counts: [V] training pairs of each video.
        videos: rows of videos, any shape. One without a pair counts as having one.
    """
    if not isinstance(counts, Tensor) or counts.dim() != 1 or counts.is_complex():
        raise TypeError("counts must be a tensor [V] of training pairs")
    videos = checks.rows(videos, len(counts), "videos", like=counts, dim=-1)
    wide = counts.clamp(min=1).double()
    return (wide[videos].log() - counts.sum().clamp(min=1).double().log()).float()
