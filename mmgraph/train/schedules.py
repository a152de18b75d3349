"""Schedules as settings: how the learning rate changes. ``FitConfig(schedule=Cosine(warmup=2))``.

A schedule is a function of where training stands, without a state of its own: a resumed run needs nothing from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator

from mmgraph.config import Config
from mmgraph.train.optimisers import from_mapping

Share = Annotated[float, Field(ge=0, le=1)]


class Position(NamedTuple):
    """Where training stands before a step.

    Attributes:
        epoch: from 0.
        batch: from 0.
        batches: an epoch.
        monitored: what every validation so far gave for ``FitConfig.monitor``.
    """

    epoch: int
    batch: int
    batches: int
    monitored: Sequence[float] = ()


class Schedule(Config):
    """The learning rate of a step is ``FitConfig.learning_rate`` times :meth:`factor`.

    One of your own is a subclass with :meth:`after_warmup`, and is given as an object; nothing is registered.

    Attributes:
        kind: which one, in a saved configuration; the class's name unless it says otherwise.
        warmup: epochs, also parts of one, over which the rate rises from 0 in equal steps; multiplied with what the
            schedule gives.
    """

    kind: str = Field(default="", validate_default=True, repr=False)

    warmup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @field_validator("kind")
    @classmethod
    def _named(cls, kind: str) -> str:
        return kind or cls.__qualname__

    @property
    def needs_validation(self) -> bool:
        """Whether it reads ``Position.monitored``."""
        return False

    def resolved(self, epochs: int) -> Self:
        """The schedule of a run of so many epochs: what it gives must not depend on anything else."""
        return self

    def factor(self, at: Position) -> float:
        """What the learning rate is multiplied by in the step at this position."""
        risen = at.epoch + (at.batch + 1) / max(at.batches, 1)
        rise = min(1.0, risen / self.warmup) if self.warmup else 1.0
        return rise * self.after_warmup(at)

    def after_warmup(self, at: Position) -> float:
        """The factor without the warm-up."""
        raise NotImplementedError(f"{type(self).__name__}.after_warmup")


class Constant(Schedule):
    """The learning rate as it is, after the warm-up."""

    kind: Literal["constant"] = "constant"

    def after_warmup(self, at: Position) -> float:
        """1."""
        return 1.0


class Cosine(Schedule):
    """Half a cosine from 1 to ``floor``: floor + (1 − floor) (1 + cos π p) / 2.

    p is the share of steps done after the warm-up. Loshchilov and Hutter, "SGDR", ICLR 2017,
    https://arxiv.org/abs/1608.03983, without restarts.

    Args:
        floor: the last factor.
        epochs: over how many; those of ``FitConfig`` when None.
    """

    kind: Literal["cosine"] = "cosine"
    floor: Share = 0.0
    epochs: Annotated[int, Field(ge=1)] | None = None

    def resolved(self, epochs: int) -> Self:
        """With the number of epochs filled in."""
        return self if self.epochs is not None else type(self)(**{**dict(self), "epochs": max(epochs, 1)})

    def after_warmup(self, at: Position) -> float:
        """As above; ``floor`` from ``epochs`` on."""
        if self.epochs is None:
            raise ValueError("Cosine needs its number of epochs: resolved(epochs) fills it in")
        done = at.epoch + at.batch / max(at.batches, 1) - self.warmup
        share = min(max(done / max(self.epochs - self.warmup, 1e-9), 0.0), 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


class StepDecay(Schedule):
    """γ^⌊epoch / every⌋.

    Args:
        gamma: γ, in (0, 1].
        every: epochs between two steps.
    """

    kind: Literal["step_decay"] = "step_decay"
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.95
    every: Annotated[int, Field(ge=1)] = 1

    def after_warmup(self, at: Position) -> float:
        """As above."""
        return self.gamma ** (at.epoch // self.every)


class Plateau(Schedule):
    """Times ``gamma`` whenever ``monitor`` has not risen for ``patience`` validations, never below ``floor``.

    Args:
        gamma: in (0, 1).
        patience: validations without a rise; smaller than ``FitConfig.patience``, which ends the run.
        floor: the least factor.
    """

    kind: Literal["plateau"] = "plateau"
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Annotated[int, Field(ge=1)] = 5
    floor: Share = 0.0

    @property
    def needs_validation(self) -> bool:
        """True."""
        return True

    def after_warmup(self, at: Position) -> float:
        """As above."""
        best, waited, factor = -math.inf, 0, 1.0
        for value in at.monitored:
            best, waited = (value, 0) if value > best else (best, waited + 1)
            if waited == self.patience:
                factor, waited = max(factor * self.gamma, self.floor), 0
        return factor


def read_schedule(value: object) -> Schedule | None:
    """A schedule (or None) as it is, or from the mapping that the ``model_dump()`` of one of this file gave.

    Raises:
        ValueError: anything else.
    """
    if value is None or isinstance(value, Schedule):
        return value
    if isinstance(value, Mapping):
        return from_mapping(value, (Constant, Cosine, StepDecay, Plateau), "schedule")
    shown = value.__name__ if isinstance(value, type) else repr(value)
    raise ValueError(
        f"schedule takes an object, such as Constant(warmup=1), Cosine(), StepDecay() or Plateau(); got {shown}"
    )
