"""What an audit asks and what it finds, as plain values that are written and read as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from mmgraph.config import Config
from mmgraph.data.files import read_json, write_json
from mmgraph.experiment.paired import paired_test

Kind = Literal["drop", "alone", "shapley", "shuffle", "noise"]
How = Literal["random", "unpopular", "value"]


class AuditConfig(Config):
    """What to audit.

    Attributes:
        metric: such as ``recall@20`` or ``cold/recall@20``; by default the one that chose the epoch.
        groups: name -> modalities that go together; by default each modality is a group. A modality in none of them is
            left as it is.
        stage: ``valid``; ``test`` only where this run has opened its test, and the journal then counts the look.
        noise: of :class:`~mmgraph.graph.NoisyFeatures`, in standard deviations.
        rates: shares of the videos that lose a modality; none: no such curves.
        missing: the orders of :class:`~mmgraph.graph.MissingFeatures`.
        buckets: parts of the targets by popularity, and of the users by activity.
        pairs: users whose first video is explained; 0 leaves the explanations out.
        draws: random deletions a pair.
        seed: of everything random here.
    """

    metric: str | None = None
    groups: Mapping[str, tuple[str, ...]] | None = None
    stage: Literal["valid", "test"] = "valid"
    noise: float = Field(default=1.0, ge=0)
    rates: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    missing: tuple[How, ...] = ("random", "unpopular", "value")
    buckets: int = Field(default=4, ge=1)
    pairs: int = Field(default=30, ge=0)
    draws: int = Field(default=5, ge=1)
    seed: int = 0

    @field_validator("rates")
    @classmethod
    def _shares(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= rate <= 1 for rate in rates):
            raise ValueError(f"rates are shares of the videos, in [0, 1]; got {rates}")
        return tuple(sorted(set(rates)))

    @field_validator("groups")
    @classmethod
    def _disjoint(cls, groups: Mapping[str, tuple[str, ...]] | None) -> Mapping[str, tuple[str, ...]] | None:
        named = [m for modalities in (groups or {}).values() for m in modalities]
        if groups is not None and (not named or len(set(named)) < len(named) or not all(groups.values())):
            raise ValueError(f"groups need at least one modality each, and no modality twice; got {dict(groups)}")
        return groups


class Effect(Config):
    """A paired difference over users, with a 95 % t interval; null where fewer than two users can be compared."""

    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    users: int

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        if self.mean is None or self.low is None or self.high is None:
            return f"unknown ({self.users} users)"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] over {self.users} users"


def paired_effect(differences: np.ndarray) -> Effect:
    """The mean of paired differences [n] with its interval: mean ± t_0.975 · sd / √n; NaN are left out."""
    d = np.asarray(differences, dtype=np.float64)
    d = d[~np.isnan(d)]
    if not len(d):
        return Effect(mean=None, low=None, high=None, p=None, users=0)
    mean = float(d.mean())
    if len(d) < 2:
        return Effect(mean=mean, low=None, high=None, p=None, users=len(d))
    found = paired_test(d[None])
    margin, p = float(found.margin), float(found.p)
    return Effect(mean=mean, low=mean - margin, high=mean + margin, p=p, users=len(d))


class EffectRow(Config):
    """What a group is worth: above 0 it helps.

    ``kind``: ``drop`` (all − all without it: leave-one-out), ``alone`` (it alone − no group: add-one), ``shapley``,
    ``shuffle`` and ``noise`` (all − all with its features dealt at random, or blurred). ``where``: ``all``,
    ``popularity`` (recall of the targets in a range of training users) or ``activity`` (users in a range of training
    interactions), ``range`` says which.
    """

    group: str
    kind: Kind
    where: Literal["all", "popularity", "activity"]
    range: str
    effect: Effect


class MissingRow(Config):
    """The metric where a share of the videos lacks a group's modalities (``every``: all groups'), and what was lost."""

    group: str
    how: How
    rate: float
    value: float
    lost: Effect


class FidelityRow(Config):
    """By how much the score of a user's first video falls without what its reasons name, and without as many others."""

    reasons: str
    explained: float | None
    random: float | None
    gap: Effect


class Audit(Config):
    """Everything one audit found.

    Attributes:
        experiment, seed, identity, protocol, model: whose.
        stage, metric: judged on.
        refit: each time trained (or solved) anew on the changed graph, or the trained model read it.
        full, none: the metric with all groups, and with none.
        groups: name -> modalities.
        coverage: modality -> share of the videos that have it.
        effects, missing, fidelity: the findings.
        notes: what a reader must know.
        config: what was asked.
    """

    experiment: str
    seed: int
    identity: str
    protocol: str
    model: str
    stage: str
    metric: str
    refit: bool
    full: float
    none: float
    groups: dict[str, tuple[str, ...]]
    coverage: dict[str, float]
    effects: tuple[EffectRow, ...]
    missing: tuple[MissingRow, ...]
    fidelity: tuple[FidelityRow, ...]
    notes: tuple[str, ...]
    config: AuditConfig

    def effect(self, group: str, kind: Kind) -> Effect:
        """Of a group over all users.

        Raises:
            KeyError: no such group, or it was not asked for.
        """
        for row in self.effects:
            if (row.group, row.kind, row.where) == (group, kind, "all"):
                return row.effect
        raise KeyError(f"no {kind!r} of {group!r}; there are groups {list(self.groups)}")

    def save(self, path: str | Path) -> Path:
        """Writes it as JSON, whole or not at all."""
        write_json(Path(path), self.model_dump(mode="json"))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Audit:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: nothing there.
            DamagedFile: (a ValueError) it is not what was written.
        """
        return cls.model_validate({k: v for k, v in read_json(Path(path), "audit").items() if k != "content_hash"})
