"""Shapley values: what each of a few groups adds, averaged over the orders in which they could have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial

import numpy as np

MOST_GROUPS = 6  # 2^6 = 64 coalitions
Coalition = frozenset[str]


def coalitions(groups: Sequence[str]) -> list[Coalition]:
    """Every subset, from none to all: 2^n of them."""
    return [frozenset(chosen) for size in range(len(groups) + 1) for chosen in combinations(groups, size)]


def shapley_values(groups: Sequence[str], worth: Mapping[Coalition, np.ndarray]) -> dict[str, np.ndarray]:
    """φ_i = Σ_{S ∌ i} |S|! (n − |S| − 1)! / n! · (v(S ∪ {i}) − v(S)).

    Shapley, "A Value for n-Person Games", 1953. They add up to v(all) − v(none), two groups that do the same share what
    they do, one that does nothing has 0, and of a v that adds up over groups each gets its own part.

    Args:
        groups: n names, at most ``MOST_GROUPS``.
        worth: v of every subset, numbers or arrays of one shape (a value a user: φ is then a value a user too).

    Raises:
        ValueError: too many groups, a name twice, or a subset without a worth.
    """
    n = len(groups)
    if n > MOST_GROUPS or len(set(groups)) < n:
        raise ValueError(
            f"Shapley values need every subset: at most {MOST_GROUPS} different groups, got {list(groups)}"
        )
    missing = [sorted(each) for each in coalitions(groups) if each not in worth]
    if missing:
        raise ValueError(f"no worth of {missing[0] or 'the empty set'} ({len(missing)} subsets of {2**n} are missing)")
    out = {}
    for name in groups:
        total = 0.0
        for others in coalitions([g for g in groups if g != name]):
            share = factorial(len(others)) * factorial(n - len(others) - 1) / factorial(n)
            total = total + share * (worth[others | {name}] - worth[others])
        out[name] = np.asarray(total)
    return out
