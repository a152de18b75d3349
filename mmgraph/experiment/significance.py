"""Whether a difference between two models is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mmgraph.experiment.differences import paired_differences, seed_differences
from mmgraph.experiment.paired import ALPHA, paired_test
from mmgraph.experiment.resampling import bootstrap_interval, exact_sign_flip, paired_t_test, sign_flip
from mmgraph.experiment.result import Result


@dataclass(frozen=True)
class Comparison:
    """a against b on one metric. Every p-value is two-sided.

    Two questions, two units of chance. *Over users*: would another sample of users show the same sign? *Over
    seeds*: would another initialisation? ``interval``, ``p`` and ``verdict`` take both into account.

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
        interval: 95 % interval of the difference from the variance over users and over seeds; see
            :func:`mmgraph.experiment.paired.paired_test`.
            One seed says nothing of others: the interval is then about these two trained models, over users alone.
        p: p-value of the test that belongs to ``interval``.
        p_adjusted: p after Holm over the family it was tested in; p itself for one comparison alone.
        dz: effect size, Cohen's d_z = mean(d) / sd(d) over users.
        detectable: the smallest true difference that a test like this one finds in 80 % of all samples:
            half of the interval + t_0.8 · standard error, 2.8 · sd / √n where there are many users and one seed.
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
    interval: tuple[float, float]
    p: float
    p_adjusted: float
    dz: float
    detectable: float

    @property
    def verdict(self) -> Literal["better", "worse", "tie"]:
        """Of a: ``better`` or ``worse`` where ``p_adjusted`` is below 5 %, else ``tie``."""
        if not self.p_adjusted < ALPHA:  # NaN is a tie too
            return "tie"
        return "better" if self.difference > 0 else "worse"

    def __str__(self) -> str:
        means = f"{self.metric} ({self.group}, {self.stage}): {self.mean_a:.4f} against {self.mean_b:.4f}, difference "
        if self.users == 1:
            return (
                f"{means}{self.difference:+.4f} for one user, who says nothing of others: no interval, {self.verdict}"
            )
        return (
            f"{means}{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}] over {self.users} users: "
            f"p = {self.p_users:.2g} (paired t-test), {self.p_permutation:.2g} (permutation); "
            f"over {self.seeds} seeds: p = {self.p_seeds:.2g} (paired t-test), "
            f"{self.p_seeds_permutation:.2g} (permutation); "
            f"over both [{self.interval[0]:+.4f}, {self.interval[1]:+.4f}], p = {self.p:.2g}, d_z = {self.dz:.2f}, "
            f"detectable from {self.detectable:.4f}: {self.verdict}"
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
    users, by_seed = paired_differences(a, b, metric, group, stage)
    d = by_seed.mean(0)
    t, p = paired_t_test(d)
    low, high = bootstrap_interval(d, resamples, seed)
    seeds = seed_differences(a, b, metric, group, stage)
    test = paired_test(by_seed)
    sd = float(np.std(d, ddof=1)) if users > 1 else math.nan
    difference = float(d.mean())
    return Comparison(
        metric,
        group,
        stage,
        float(np.mean([r.metric(metric, group, stage) for r in a])),
        float(np.mean([r.metric(metric, group, stage) for r in b])),
        difference,
        users,
        t,
        p,
        sign_flip(d, resamples, seed),
        low,
        high,
        len(seeds),
        paired_t_test(seeds)[1],
        exact_sign_flip(seeds),
        (float(difference - test.margin), float(difference + test.margin)),
        float(test.p),
        float(test.p),
        _effect_size(difference, sd),
        float(test.detectable),
    )


def compare_family(
    a: Sequence[Result],
    others: Mapping[str, Sequence[Result]],
    metric: str = "recall@20",
    *,
    group: str = "all",
    stage: str = "test",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """:func:`compare` of a with each of several others, Holm's correction over all of them in ``p_adjusted``.

    The family is what is passed: name it before the numbers are looked at, and leave none out afterwards.

    Args:
        a: results of one experiment, one per seed.
        others: name -> results of another.
        metric, group, stage, resamples, seed: as of :func:`compare`.

    Raises:
        ValueError, KeyError: as :func:`compare` does.
    """
    options = {"group": group, "stage": stage, "resamples": resamples, "seed": seed}
    found = {name: compare(a, b, metric, **options) for name, b in others.items()}
    adjusted = holm([c.p for c in found.values()])
    return {name: replace(c, p_adjusted=p) for (name, c), p in zip(found.items(), adjusted, strict=True)}


def _effect_size(mean: float, sd: float) -> float:
    if sd == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / sd


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
