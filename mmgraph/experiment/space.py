"""What a tuning may try: the values of an experiment's settings, beside the recipe that they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from mmgraph.config import Config


@dataclass(frozen=True)
class Uniform:
    """A number from ``low`` to ``high``, both included.

    Args:
        low, high: the ends.
        log: evenly over the logarithm, as for learning rates and weights of penalties.

    Raises:
        ValueError: ends that are no range, or a logarithm of what is not positive.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_ends(self.low, self.high, self.log)

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    def to_parameter(self, value: Any) -> float:
        """The value as the sampler knows it."""
        return float(value)

    def from_parameter(self, value: float) -> float:
        """The sampler's value as the experiment takes it: 6 digits, so that it can be written and typed."""
        return min(max(float(f"{value:.6g}"), self.low), self.high)


@dataclass(frozen=True)
class Integer:
    """A whole number from ``low`` to ``high``, both included.

    Args:
        low, high: the ends.
        log: evenly over the logarithm, as for widths and batch sizes.

    Raises:
        ValueError: ends that are no range of whole numbers.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        if not all(isinstance(end, int) and not isinstance(end, bool) for end in (self.low, self.high)):
            raise ValueError(f"Integer needs whole ends, got {self.low!r} and {self.high!r}")
        _check_ends(self.low, self.high, self.log)

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def to_parameter(self, value: Any) -> int:
        """The value as the sampler knows it."""
        return int(value)

    def from_parameter(self, value: Any) -> int:
        """The sampler's value as the experiment takes it."""
        return int(value)


@dataclass(frozen=True, init=False)
class Choice:
    """One of some values, of any kind: ``Choice(BPR(), SampledSoftmax(temperature=0.1))``.

    Raises:
        ValueError: fewer than two values, or one twice.
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if len(values) < 2 or any(value in values[:place] for place, value in enumerate(values)):
            raise ValueError(f"Choice needs two or more different values, got {values}")
        object.__setattr__(self, "values", values)

    def __contains__(self, value: Any) -> bool:
        return any(value is v or value == v for v in self.values)

    def to_parameter(self, value: Any) -> int:
        """The value's place."""
        return next(place for place, v in enumerate(self.values) if value is v or value == v)

    def from_parameter(self, value: Any) -> Any:
        """The value at a place."""
        return self.values[int(value)]


Range = Uniform | Integer | Choice


def _check_ends(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a range needs low < high, got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, got {low}")


class Tuning(Config):
    """How an experiment is tuned on valid. It lies beside the recipe and determines no run's numbers.

    Attributes:
        space: dotted path, as in :meth:`Experiment.variant`, -> :class:`Uniform`, :class:`Integer` or :class:`Choice`.
            The experiment's own values, the paper's, are the first trial and have to lie in it.
        startup: trials drawn at random, that first one among them, before the sampler reads their results.
        batch: after that, trials that are proposed from the same results. It fixes what each trial may know, so that
            the study comes out the same for any number of workers, and after any kill.
        prune_below: a trial ends early where its best so far is below this quantile of finished trials' best at the
            same epoch; None never ends one.
        warm_up: epochs before that; longer than the model family needs to rise at all (UltraGCN is flat for 140).
    """

    space: Mapping[str, Range] = Field(default_factory=dict)
    startup: int = Field(default=12, ge=1)
    batch: int = Field(default=4, ge=1)
    prune_below: float | None = Field(default=0.5, gt=0, lt=1)
    warm_up: int = Field(default=20, ge=0)

    @field_validator("space", mode="before")
    @classmethod
    def _ranges(cls, space: Any) -> Any:
        for path, values in dict(space).items():
            if not isinstance(values, (Uniform, Integer, Choice)):
                raise ValueError(f"{path} needs Uniform, Integer or Choice, got {values!r}")
        return space
