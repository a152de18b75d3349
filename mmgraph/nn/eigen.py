"""The leading eigenvectors of an operator that is only applied, never formed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_POWERS = 4  # plain products at the start, which put the columns in order
_GROWTH = 1e5  # of the largest eigenvector in one filter: float32 keeps the smallest wanted one beside it
_DEGREE = 8


def leading_eigenvectors(
    apply: Callable[[Tensor], Tensor], start: Tensor, rank: int, *, tolerance: float = 1e-4, rounds: int = 40
) -> Tensor:
    """Orthonormal eigenvectors of the ``rank`` largest eigenvalues, largest first: [N, rank].

    Subspace iteration by Chebyshev filters: Zhou et al., "Self-consistent-field calculations using Chebyshev-filtered
    subspace iteration", J. Comput. Phys. 2006, https://doi.org/10.1016/j.jcp.2006.03.017. Each round grows what lies
    above the block's smallest Ritz value c by T_m(2λ/c − 1), where m plain products would grow it by (λ/c)^m: with
    eigenvalues that lie as near each other as those of a graph, plain iteration stops short of the last vectors.

    Args:
        apply: a symmetric operator with eigenvalues ≥ 0, of [N, B].
        start: [N, W], W ≥ ``rank``; columns beyond ``rank`` make it converge sooner.
        rank: how many to return.
        tolerance: done when ‖A v − λ v‖ ≤ ``tolerance`` · λ_1 for each of them.
        rounds: at most, of filter, QR and Ritz vectors.
    """
    q = start
    for _ in range(_POWERS):
        q = torch.linalg.qr(apply(q)).Q
    q, values, wrong = _ritz(apply, q)
    for _ in range(rounds):
        if q.shape[1] == len(q) or float(wrong[:rank].max()) <= tolerance * float(values[0]):
            break
        q, values, wrong = _ritz(apply, torch.linalg.qr(_filtered(apply, q, values)).Q)
    return q[:, :rank]


def _ritz(apply: Callable[[Tensor], Tensor], q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz vectors in the span of q, their values, and ‖A v − λ v‖, largest value first."""
    image = apply(q)
    values, turn = torch.linalg.eigh(q.T @ image)
    values, turn = values.flip(0), turn.flip(1)
    q = q @ turn
    return q, values, torch.linalg.vector_norm(image @ turn - q * values, dim=0)


def _filtered(apply: Callable[[Tensor], Tensor], q: Tensor, values: Tensor) -> Tensor:
    """T_m((2 A − c I) / c) q, c the smallest Ritz value, m as high as float32 allows."""
    top, cut = float(values[0]), max(float(values[-1]), 1e-6 * float(values[0]))
    widest = math.acosh(max(2 * top / cut - 1, 1 + 1e-12))
    degree = max(1, min(_DEGREE, int(math.acosh(_GROWTH) / widest))) if widest else _DEGREE
    before, now = q, 2 / cut * apply(q) - q
    for _ in range(degree - 1):
        before, now = now, 2 * (2 / cut * apply(now) - now) - before
    return now
