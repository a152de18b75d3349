"""The test of a paired difference with users and seeds both drawn at random, which holds its level with few seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05  # two-sided, of intervals and verdicts
POWER = 0.8  # of the smallest difference that is said to be detectable
_WORST = 0.0525  # false positives allowed where the seeds matter most; 0.05 costs power wherever they do not
_SHARES = np.linspace(0, 1, 21) ** 2  # closer where little changes much


@dataclass(frozen=True)
class PairedTest:
    """What :func:`paired_test` finds; each of the shape of the leading dimensions.

    Attributes:
        p: two-sided p-value.
        margin: half the width of the 95 % interval.
        detectable: smallest difference found with 80 % power.
    """

    p: np.ndarray
    margin: np.ndarray
    detectable: np.ndarray


def paired_test(d: np.ndarray) -> PairedTest:
    """Test of mean difference 0 with users and seeds both drawn at random. With one seed it is the paired t-test.

    With d_su = μ + user_u + seed_s + rest_su, n users and S seeds, three numbers are at hand: A = var(user means) / n,
    T = var(seed means) / S with S - 1 degrees of freedom, and C = var(rest) / (n S), which the rest puts into both.
    The variance of the mean is A + T - C. The half width of the interval at level 1 - α is ::

        sqrt( t(1 - α/2; n - 1)² A + t(1 - α/2; S - 1)² max(0, T - a A) )

    It is never narrower than the interval over users, and the t-interval over seeds where these matter most. a, what is
    taken off because noise alone would put it there, is not estimated but solved for: the largest under which no size
    of the seeds' effect gives more than 5.25 % false positives, for this S and this C / A. Where seeds have no effect,
    that costs power: false positives are then below 5 % (about 2 % with two seeds, 3 % with three, 4 % with five), for
    two or three numbers cannot rule an effect out. One seed says nothing of others, and none of this is then in the
    interval.

    Args:
        d: differences [..., S, n]; leading dimensions are further data sets.

    Returns:
        PairedTest: NaN throughout where n is 1, for one user says nothing of others.
    """
    from scipy.stats import t as student

    seeds, users = d.shape[-2:]
    mean = d.mean((-2, -1))
    if users < 2:
        nothing = np.full_like(mean, np.nan)
        return PairedTest(nothing, nothing, nothing)
    of_users, of_seeds, noise = variances(d)
    kept = of_seeds
    if seeds > 1:
        share = noise / np.where(of_users > 0, of_users, 1)
        kept = np.maximum(0, of_seeds - np.interp(share, _SHARES, _taken_off(seeds - 1)) * of_users)

    def half_width(tail: float | np.ndarray) -> np.ndarray:
        over_seeds = _quantile(tail, seeds - 1) * np.sqrt(kept) if seeds > 1 else 0.0
        return np.hypot(_quantile(tail, users - 1) * np.sqrt(of_users), over_seeds)

    margin = half_width(ALPHA / 2)
    error = np.sqrt(of_users + np.maximum(0, of_seeds - noise))
    return PairedTest(_tail_of(np.abs(mean), half_width), margin, margin + student.ppf(POWER, users - 1) * error)


def variances(d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, T and C of :func:`paired_test`: of the mean, by user means, by seed means, and what the rest puts into both.

    Args:
        d: differences [..., S, n]; with one seed T and C are 0.
    """
    seeds, users = d.shape[-2:]
    over_users = d.mean(-2)
    of_users = over_users.var(-1, ddof=1) / users
    if seeds < 2:
        return of_users, np.zeros_like(of_users), np.zeros_like(of_users)
    over_seeds = d.mean(-1)
    rest = d - over_users[..., None, :] - over_seeds[..., None] + d.mean((-2, -1))[..., None, None]
    noise = (rest**2).sum((-2, -1)) / ((users - 1) * (seeds - 1))
    return of_users, over_seeds.var(-1, ddof=1) / seeds, noise / (users * seeds)


def _quantile(tail: float | np.ndarray, freedom: int) -> np.ndarray:
    """Student's, finite: SciPy gives minus infinity for a tail below 1e-280, which times no variance is no number."""
    from scipy.stats import t as student

    return np.minimum(np.abs(student.isf(tail, freedom)), 1e300)


def _tail_of(mean: np.ndarray, half_width: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The p-value whose interval just reaches 0, by bisection of its logarithm; 0 where there is no variance at all."""
    low, high = np.full(mean.shape, -700.0), np.zeros(mean.shape)
    for _ in range(60):
        middle = (low + high) / 2
        reaches = half_width(np.exp(middle) / 2) >= mean
        low, high = np.where(reaches, middle, low), np.where(reaches, high, middle)
    return np.where(mean == 0, 1.0, np.where(low <= -699, 0.0, np.exp(low)))


@functools.cache
def _taken_off(freedom: int) -> np.ndarray:
    """a for each share C / A of :data:`_SHARES`, by bisection: false positives grow with it."""
    from scipy.stats import chi2, norm
    from scipy.stats import t as student

    quantiles = chi2.ppf((np.arange(300) + 0.5) / 300, freedom) / freedom
    effects = np.concatenate([[0.0], np.logspace(-1.5, 3, 28)])[:, None]  # the seeds' variance, A is 1
    users, seeds = norm.isf(ALPHA / 2) ** 2, student.isf(ALPHA / 2, freedom) ** 2

    def worst(share: float, taken: float) -> float:
        kept = np.maximum(0, (effects + share) * quantiles - taken)
        margin = np.sqrt(users + seeds * kept)
        return float((2 * norm.sf(margin / np.sqrt(1 + effects))).mean(1).max())

    found = []
    for share in _SHARES:
        low, high = 0.0, 2.0
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if worst(share, middle) <= _WORST else (low, middle)
        found.append(low)
    return np.array(found)
