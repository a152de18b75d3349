"""Two sides' values of the same users and seeds, one minus the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mmgraph.experiment.result import Result


class CannotPair(ValueError):
    """The two sides have no users or no seeds in common, so nothing is paired."""


def paired_differences(
    a: Sequence[Result], b: Sequence[Result], metric: str, group: str, stage: str
) -> tuple[int, np.ndarray]:
    """Number of users and a's values minus b's, [seeds, users], seeds and users ascending; users with NaN left out.

    Where a user has several rows (requests), they count as one: their mean.

    Raises:
        CannotPair: (a ValueError) seeds or users differ, or no user has a value of both.
        KeyError: no per-user values of this metric.
    """
    pairs = _pairs(a, b)
    users, rows = None, []
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for pair in pairs:
        for result in pair:
            if id(result) not in known:
                known[id(result)] = _values(result, metric, group, stage)
        for result in pair:
            here = known[id(result)][0]
            if users is not None and not np.array_equal(users, here):
                raise CannotPair(
                    f"{result.experiment} {result.seed}: measured on different users ({len(users)} and {len(here)})"
                )
            users = here
        rows.append(known[id(pair[0])][1] - known[id(pair[1])][1])
    d = np.stack(rows)
    d = d[:, ~np.isnan(d).any(0)]
    if not d.shape[1]:
        raise CannotPair(f"no user of group {group!r} on {stage} has a value of {metric!r} on both sides")
    return d.shape[1], d


def _values(result: Result, metric: str, group: str, stage: str) -> tuple[np.ndarray, np.ndarray]:
    frame = result.per_user(group, stage)
    if metric not in frame.columns or not len(frame):
        raise KeyError(f"{result.experiment} has no per-user {metric!r} in group {group!r}; it has {frame.columns[1:]}")
    if frame["user"].n_unique() < len(frame):
        frame = frame.group_by("user").agg(pl.col(metric).mean()).sort("user")
    return frame["user"].to_numpy(), frame[metric].to_numpy()


def _pairs(a: Sequence[Result], b: Sequence[Result]) -> list[tuple[Result, Result]]:
    """By seed, ascending; a side of one seed stands against each seed of the other."""
    of_a, of_b = {r.seed: r for r in a}, {r.seed: r for r in b}
    if len(of_b) == 1:
        of_b = dict.fromkeys(of_a, next(iter(of_b.values())))
    elif len(of_a) == 1:
        of_a = dict.fromkeys(of_b, next(iter(of_a.values())))
    if of_a.keys() != of_b.keys():
        raise CannotPair(f"seeds do not pair: {sorted(of_a)} against {sorted(of_b)}")
    return [(of_a[seed], of_b[seed]) for seed in sorted(of_a)]


def seed_differences(a: Sequence[Result], b: Sequence[Result], metric: str, group: str, stage: str) -> np.ndarray:
    """a's number minus b's for each seed, ascending."""
    return np.array([x.metric(metric, group, stage) - y.metric(metric, group, stage) for x, y in _pairs(a, b)])
