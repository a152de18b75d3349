"""What a suite is, recipes × seeds, tuned where they have a space; and how one stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from mmgraph.config import Config
from mmgraph.experiment.config import Experiment

State = Literal["waiting", "running", "trained", "done", "failed"]


class Suite(Config):
    """What a table is made of. A suite is a function that returns one, beside its recipes.

    Attributes:
        name: letters, digits and ``. _ - =``.
        experiments: the rows; their baselines are rows too, each name once.
        seeds: for all, in place of the experiments' own; a closed form runs under the first alone.
        trials: settings that each experiment with a space is tuned over before it runs, the same for all; 0: none.
        seconds: of training that such a tuning may take at most, over all its workers.
        metrics: columns of its table.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.=-]*$")
    experiments: tuple[Experiment, ...]
    seeds: tuple[int, ...] | None = None
    trials: int = Field(default=0, ge=0)
    seconds: float | None = Field(default=None, gt=0)
    metrics: tuple[str, ...] = ("recall@20", "ndcg@20")

    @field_validator("experiments")
    @classmethod
    def _rows(cls, experiments: tuple[Experiment, ...]) -> tuple[Experiment, ...]:
        if not experiments:
            raise ValueError("a suite needs at least one experiment")
        return experiments

    def members(self) -> list[Experiment]:
        """Every row once, baselines before the experiment that names them.

        Raises:
            ValueError: two different experiments of one name.
        """
        found: dict[str, Experiment] = {}
        for experiment in self.experiments:
            for member in (*experiment.baselines, experiment):
                alone = member.variant(baselines=())
                there = found.setdefault(member.name, alone)
                if there.resolved() != alone.resolved():
                    raise ValueError(f"suite {self.name}: two different experiments are named {member.name!r}")
        return list(found.values())

    def mocked(self) -> Suite:
        """One step of everything: an epoch, one seed, two trials."""
        members = [
            member.variant(
                {"fit.epochs": min(member.fit.epochs, 1)}, name=f"mock-{member.name}", seeds=member.seeds[:1]
            )
            for member in self.members()
        ]
        return self.model_copy(
            update={
                "name": f"mock-{self.name}",
                "experiments": tuple(members),
                "seeds": None if self.seeds is None else self.seeds[:1],
                "trials": min(self.trials, 2),
            }
        )


@dataclass(frozen=True)
class Job:
    """One run of a suite and where it stands.

    Attributes:
        experiment, seed: which.
        state: ``waiting``, ``running`` (here or in another process), ``trained`` (its test is still closed), ``done``
            or ``failed``.
        seconds: of training, once it is over.
        opened: how often its protocol's test had been opened here, once it is done.
        error: why it failed.
    """

    experiment: str
    seed: int
    state: State
    seconds: float | None = None
    opened: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Progress:
    """A suite as it stands.

    Attributes:
        suite: its name.
        jobs: one a run, in the table's order.
        tuning: the experiment that is tuned right now, by this process.
    """

    suite: str
    jobs: tuple[Job, ...]
    tuning: str | None = None

    def count(self, *states: State) -> int:
        """How many runs are in one of these states."""
        return sum(job.state in states for job in self.jobs)

    @property
    def seconds(self) -> float:
        """Training so far."""
        return sum(job.seconds or 0.0 for job in self.jobs)

    @property
    def estimate(self) -> float | None:
        """Seconds of training that are left, from the runs that are over; None before the first."""
        over: dict[str, list[float]] = {}
        for job in self.jobs:
            if job.seconds is not None:
                over.setdefault(job.experiment, []).append(job.seconds)
        if not over:
            return None
        everyone = [s for seconds in over.values() for s in seconds]
        left = [job.experiment for job in self.jobs if job.state in ("waiting", "running")]
        means = {name: sum(seconds) / len(seconds) for name, seconds in over.items()}
        return sum(means.get(name, sum(everyone) / len(everyone)) for name in left)


Report = Callable[[Progress], None]
