"""The changed graphs that an audit ranks on: a name and transforms each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmgraph.audit.findings import AuditConfig
from mmgraph.audit.shapley import MOST_GROUPS, Coalition, coalitions
from mmgraph.graph import MissingFeatures, NoisyFeatures, ShuffledFeatures, WithoutModalities

EVERY = "every"


@dataclass(frozen=True)
class Step:
    """A graph to rank on.

    Attributes:
        name: unlike any other's.
        transforms: of the graph as it was built, before the experiment's own.
    """

    name: str
    transforms: tuple[Callable[..., Any], ...] = ()


FULL = Step("full")


def kept(groups: Mapping[str, Sequence[str]], coalition: Coalition) -> Step:
    """Only these groups."""
    gone = tuple(m for name, modalities in groups.items() if name not in coalition for m in modalities)
    if not gone:
        return FULL
    return Step(f"keep {'+'.join(sorted(coalition)) or 'none'}", (WithoutModalities(gone),))


def shuffled(groups: Mapping[str, Sequence[str]], name: str) -> Step:
    """The group's features dealt at random."""
    return Step(f"shuffle {name}", (ShuffledFeatures(tuple(groups[name])),))


def noisy(groups: Mapping[str, Sequence[str]], name: str, scale: float) -> Step:
    """Noise on the group's features."""
    return Step(f"noise {name}", (NoisyFeatures(tuple(groups[name]), scale),))


def missing(groups: Mapping[str, Sequence[str]], name: str, how: Any, rate: float) -> Step:
    """The group's modalities, or all groups', missing from a share of the videos."""
    chosen = groups.values() if name == EVERY else [groups[name]]
    lost = tuple(m for modalities in chosen for m in modalities)
    return Step(f"missing {name} {how} {rate:g}", (MissingFeatures(rate, how, lost),))


def needed(groups: Mapping[str, Sequence[str]]) -> list[Coalition]:
    """All subsets where there are few groups; else all, none, each alone and each left out."""
    names = list(groups)
    if len(names) <= MOST_GROUPS:
        return coalitions(names)
    ones = [frozenset((name,)) for name in names]
    return [frozenset(), *ones, *(frozenset(names) - one for one in ones), frozenset(names)]


def every_step(groups: Mapping[str, Sequence[str]], config: AuditConfig, each: bool) -> list[Step]:
    """All steps in order, without repeats, the full graph first.

    Args:
        groups: name -> modalities.
        config: what to audit.
        each: missing curves of each group too, not only of all together.
    """
    steps = [FULL, *(kept(groups, coalition) for coalition in needed(groups))]
    for name in groups:
        steps += [shuffled(groups, name), noisy(groups, name, config.noise)]
    for name in curves(groups, each):
        steps += [missing(groups, name, how, rate) for how in config.missing for rate in config.rates]
    return list({step.name: step for step in steps}.values())


def curves(groups: Mapping[str, Sequence[str]], each: bool) -> list[str]:
    """Whose missing curves are drawn."""
    return [EVERY, *(groups if each and len(groups) > 1 else ())]
