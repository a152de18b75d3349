"""Tests and intervals of differences by flipping their signs, by drawing them anew, and by Student's t."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def paired_t_test(differences: np.ndarray) -> tuple[float, float]:
    """t = mean / (sd / √n) and its two-sided p-value with n - 1 degrees of freedom; NaN for n < 2.

    Differences that are all equal have no spread: p is 0, or 1 where they are all zero.
    """
    from scipy.stats import ttest_1samp

    if len(differences) < 2:
        return math.nan, math.nan
    if np.ptp(differences) == 0:
        mean = float(differences[0])
        return (0.0, 1.0) if mean == 0 else (math.copysign(math.inf, mean), 0.0)
    found: Any = ttest_1samp(differences, 0)
    return float(found.statistic), float(found.pvalue)


def sign_flip(d: np.ndarray, resamples: int, seed: int) -> float:
    """(1 + how many flipped means reach the observed one) / (1 + resamples), in chunks of bounded memory."""
    random = np.random.default_rng(seed)
    observed, reached = abs(d.mean()), 0
    step = max(1, 4_000_000 // len(d))
    for start in range(0, resamples, step):
        signs = random.integers(0, 2, (min(step, resamples - start), len(d)), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ d / len(d)) >= observed - 1e-15).sum())
    return (1 + reached) / (1 + resamples)


def bootstrap_interval(d: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """95 % interval of the mean, by percentiles of means of values drawn anew; NaN for one value."""
    from scipy.stats import bootstrap

    if len(d) < 2:
        return math.nan, math.nan
    if np.ptp(d) == 0:
        return float(d[0]), float(d[0])
    options: dict[str, Any] = {"random_state": np.random.default_rng(seed)}  # `rng` from scipy 1.15 on
    found = bootstrap(
        (d,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(d)),
        method="percentile",
        **options,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def exact_sign_flip(d: np.ndarray) -> float:
    """The two-sided p-value over all patterns of signs; NaN for fewer than two values."""
    from scipy.stats import permutation_test

    if len(d) < 2:
        return math.nan
    options: dict[str, Any] = {"random_state": np.random.default_rng(0)}
    # exact up to 16 seeds, 65,536 patterns; beyond, as many are drawn
    found = permutation_test(
        (d,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**16,
        **options,
    )
    return float(found.pvalue)
