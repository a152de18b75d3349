"""Whether a difference between two models is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmgraph.experiment.result import Result


@dataclass(frozen=True)
class Comparison:
    """a against b on one metric. Every p-value is two-sided.

    Two questions, two units of chance. *Over users*: would another sample of users show the same sign? *Over
    seeds*: would another initialisation? A claim needs both.

    Attributes:
        metric, group, stage: what was compared.
        mean_a, mean_b: mean over seeds of each.
        difference: mean over users of a's value minus b's, each user's values first averaged over seeds.
        users: n, users with a value of both.
        t_users: t statistic of the paired t-test over users, n - 1 degrees of freedom.
        p_users: its p-value.
        p_permutation: sign-flip permutation test over users: each user's difference may as well have been its negative.
        low, high: 95 % bootstrap interval of the difference, resampling users (percentiles).
        seeds: number of seeds compared; a side with one seed stands against each seed of the other.
        p_seeds: paired t-test over seeds; NaN with fewer than two.
        p_seeds_permutation: exact sign-flip test over seeds; it cannot fall below 2 / 2^seeds.
    """

    metric: str
    group: str
    stage: str
    mean_a: float
    mean_b: float
    difference: float
    users: int
    t_users: float
    p_users: float
    p_permutation: float
    low: float
    high: float
    seeds: int
    p_seeds: float
    p_seeds_permutation: float

    def __str__(self) -> str:
        return (
            f"{self.metric} ({self.group}, {self.stage}): {self.mean_a:.4f} against {self.mean_b:.4f}, difference "
            f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}] over {self.users} users: "
            f"p = {self.p_users:.2g} (paired t-test), {self.p_permutation:.2g} (permutation); "
            f"over {self.seeds} seeds: p = {self.p_seeds:.2g} (paired t-test), "
            f"{self.p_seeds_permutation:.2g} (permutation)"
        )


def compare(
    a: Sequence[Result],
    b: Sequence[Result],
    metric: str = "recall@20",
    *,
    group: str = "all",
    stage: str = "test",
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Paired tests of a against b: t-test, sign-flip permutation and bootstrap over users; t-test and exact sign-flip
    over seeds.

    With d_u the difference for user u: t = mean(d) / (sd(d) / √n). The permutation p is (1 + #{|mean of flipped d| ≥
    |mean d|}) / (1 + resamples).

    Args:
        a, b: results of one experiment each, one per seed, of the same protocol.
        metric: one with per-user values, such as ``"recall@20"`` or ``"user_auc"``.
        group: ``all``, ``warm`` or ``cold``.
        stage: ``"test"`` or ``"valid"``.
        resamples: of permutation and bootstrap.
        seed: of both.

    Raises:
        ValueError: no result, different protocols, several experiments on one side, seeds that do not pair.
        KeyError: no per-user values of this metric.
    """
    for side in (a, b):
        if not side:
            raise ValueError("compare needs at least one result on each side")
        if len({r.experiment for r in side}) > 1:
            raise ValueError(f"one side holds several experiments: {sorted({r.experiment for r in side})}")
    protocols = {r.protocol for r in (*a, *b)}
    if len(protocols) > 1:
        raise ValueError(f"numbers under different protocols do not compare: {sorted(protocols)}")
    users, value_a = _user_means(a, metric, group, stage)
    others, value_b = _user_means(b, metric, group, stage)
    if not np.array_equal(users, others):
        raise ValueError(f"the two sides were measured on different users ({len(users)} and {len(others)})")
    d = value_a - value_b
    d = d[~np.isnan(d)]
    t, p = paired_t_test(d)
    flipped, resampled = _resample(d, resamples, seed)
    observed = abs(d.mean())
    permutation = (1 + int((np.abs(flipped) >= observed - 1e-15).sum())) / (1 + resamples)
    low, high = np.percentile(resampled, [2.5, 97.5])
    by_seed = _seed_differences(a, b, metric, group, stage)
    return Comparison(
        metric,
        group,
        stage,
        float(np.mean([r.metric(metric, group, stage) for r in a])),
        float(np.mean([r.metric(metric, group, stage) for r in b])),
        float(d.mean()),
        len(d),
        t,
        p,
        permutation,
        float(low),
        float(high),
        len(by_seed),
        paired_t_test(by_seed)[1],
        _exact_sign_flip(by_seed),
    )


def paired_t_test(differences: np.ndarray) -> tuple[float, float]:
    """t = mean / (sd / √n) and its two-sided p-value with n - 1 degrees of freedom; NaN for n < 2.

    Differences that are all equal have no spread: p is 0, or 1 where they are all zero.
    """
    from scipy.special import stdtr

    n = len(differences)
    if n < 2:
        return math.nan, math.nan
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if sd == 0:
        return (0.0, 1.0) if mean == 0 else (math.copysign(math.inf, mean), 0.0)
    t = mean / (sd / math.sqrt(n))
    return t, float(2 * stdtr(n - 1, -abs(t)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for testing several baselines at once: adjusted p-values, in the order given.

    The i-th smallest of m becomes max over j ≤ i of (m - j + 1) p_(j), at most 1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    out, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        out[index] = highest
    return out


def _user_means(results: Sequence[Result], metric: str, group: str, stage: str) -> tuple[np.ndarray, np.ndarray]:
    users, total = None, 0.0
    for result in results:
        frame = result.per_user(group, stage)
        if metric not in frame.columns or not len(frame):
            raise KeyError(
                f"{result.experiment} has no per-user {metric!r} in group {group!r}; it has {frame.columns[1:]}"
            )
        if users is not None and not np.array_equal(users, frame["user"].to_numpy()):
            raise ValueError(f"{result.experiment}: its seeds were measured on different users")
        users = frame["user"].to_numpy()
        total = total + frame[metric].to_numpy()
    assert users is not None
    return users, np.asarray(total / len(results))


def _seed_differences(a: Sequence[Result], b: Sequence[Result], metric: str, group: str, stage: str) -> np.ndarray:
    value_a = {r.seed: r.metric(metric, group, stage) for r in a}
    value_b = {r.seed: r.metric(metric, group, stage) for r in b}
    if len(b) == 1:
        value_b = dict.fromkeys(value_a, next(iter(value_b.values())))
    elif len(a) == 1:
        value_a = dict.fromkeys(value_b, next(iter(value_a.values())))
    if value_a.keys() != value_b.keys():
        raise ValueError(f"seeds do not pair: {sorted(value_a)} against {sorted(value_b)}")
    return np.array([value_a[s] - value_b[s] for s in sorted(value_a)])


def _resample(d: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of sign-flipped differences and of bootstrap samples, [resamples] each, in chunks of bounded memory."""
    random = np.random.default_rng(seed)
    flipped, resampled = [], []
    step = max(1, 4_000_000 // len(d))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        signs = random.integers(0, 2, (rows, len(d)), dtype=np.int8) * 2 - 1
        flipped.append(signs @ d / len(d))
        resampled.append(d[random.integers(0, len(d), (rows, len(d)))].mean(1))
    return np.concatenate(flipped), np.concatenate(resampled)


def _exact_sign_flip(d: np.ndarray) -> float:
    if len(d) < 2:
        return math.nan
    if len(d) > 16:  # 65,536 patterns are enough; beyond, draw them
        signs = np.random.default_rng(0).integers(0, 2, (2**16, len(d))) * 2 - 1
    else:
        signs = np.array(np.meshgrid(*[[-1, 1]] * len(d))).reshape(len(d), -1).T
    return float((np.abs(signs @ d) >= abs(d.sum()) - 1e-12 * np.abs(d).sum()).mean())
