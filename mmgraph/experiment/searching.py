"""Settings tried on valid alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mmgraph.data.files import DamagedFile, owned, read_json, write_json
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import describe
from mmgraph.experiment.preparing import fit_prepared, prepare

if TYPE_CHECKING:
    from mmgraph.data.split import Split


@dataclass(frozen=True)
class Trial:
    """One setting of a search.

    Attributes:
        changes: dotted path -> value.
        valid: metrics of group ``all`` at the chosen epoch; empty when the trial failed.
        epochs: trained.
        best_epoch: chosen.
        seconds: of training.
        error: why it failed, or None.
        pruned: it was ended early, as not worth going on with.
        curve: (epoch, monitor) of each validation, where a tuning keeps it.
    """

    changes: dict[str, Any]
    valid: dict[str, float]
    epochs: int = 0
    best_epoch: int = -1
    seconds: float = 0.0
    error: str | None = None
    pruned: bool = False
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Search:
    """A finished search on valid.

    Attributes:
        experiment: the best setting, under the searched experiment's name: run it to open the test.
        trials: all, in the order tried.
        monitor: the metric that chose.
        directory: where the trials lie.
    """

    experiment: Experiment
    trials: tuple[Trial, ...]
    monitor: str
    directory: Path

    @property
    def best(self) -> Trial:
        """The trial with the highest monitor; the first of equals."""
        return max((t for t in self.trials if t.valid), key=lambda t: t.valid[self.monitor])

    def frame(self) -> pl.DataFrame:
        """One row a trial, best first."""
        rows = [
            {path: str(value) for path, value in t.changes.items()}
            | {self.monitor: t.valid.get(self.monitor), "best_epoch": t.best_epoch}
            | {"seconds": t.seconds, "error": t.error}
            for t in self.trials
        ]
        return pl.DataFrame(rows, infer_schema_length=None).sort(self.monitor, descending=True, nulls_last=True)


def search(
    experiment: Experiment,
    grid: Mapping[str, Sequence[Any]],
    seed: int = 0,
    out: str | Path = "runs",
    *,
    max_trials: int | None = None,
    progress: bool = False,
) -> Search:
    """Tries settings on valid alone: no trial opens the test, and every trial is kept, failed ones too.

    Run again, it reads the trials that are there and goes on. They lie in ``<out>/<experiment>/search-<seed>/``.

    Args:
        experiment: where to start from.
        grid: dotted path (as in :meth:`Experiment.variant`) -> values; all combinations are tried.
        seed: of each trial.
        out: parent folder of all runs.
        max_trials: try that many combinations, drawn at random under ``seed``.
        progress: show bars.

    Raises:
        ValueError: an empty grid, a setting that does not exist, or no trial that worked.
    """
    if not grid or not all(len(values) for values in grid.values()):
        raise ValueError(f"the grid needs at least one path with at least one value; got {dict(grid)}")
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    variants = [experiment.variant(changes) for changes in settings]  # refuses bad settings before any runs
    if max_trials is not None and max_trials < len(settings):
        chosen = sorted(random.Random(seed).sample(range(len(settings)), max_trials))
        settings, variants = [settings[i] for i in chosen], [variants[i] for i in chosen]
    directory = Path(out) / experiment.name / f"search-{seed}"
    splits: dict[Callable[[], Any], Split] = {}
    trials = []
    with owned(directory, "search"):
        for changes, variant in zip(settings, variants, strict=True):
            if variant.split not in splits:
                splits[variant.split] = variant.split()
            split = splits[variant.split]
            folder = directory / variant.identity(seed, split).id
            trial = read_trial(folder / "trial.json", changes)
            if trial is None:
                folder.mkdir(parents=True, exist_ok=True)
                trial = _try(variant, changes, seed, split, folder, progress)
                write_json(folder / "trial.json", describe(asdict(trial)))
            trials.append(trial)
    if not any(t.valid for t in trials):
        raise ValueError(f"no trial worked; the first failed with: {trials[0].error}")
    found = Search(experiment, tuple(trials), experiment.fit.monitor, directory)
    best = experiment.variant(found.best.changes)
    return Search(best, found.trials, found.monitor, directory)


def read_trial(path: Path, changes: dict[str, Any]) -> Trial | None:
    """The trial that lies there; None where there is none, or only half of one: then it is tried again."""
    try:
        values: dict[str, Any] = {**read_json(path, "trial"), "changes": changes}
        values["curve"] = tuple((int(epoch), float(value)) for epoch, value in values.get("curve", ()))
        return Trial(**values)
    except (FileNotFoundError, DamagedFile, TypeError, ValueError):
        return None


def _try(variant: Experiment, changes: dict[str, Any], seed: int, split: Split, folder: Path, progress: bool) -> Trial:
    try:
        ready = prepare(variant, seed, split=split)
        identity = variant.identity(seed, split)
        report = fit_prepared(variant, ready, seed, folder, identity, progress=progress)
    except FloatingPointError as error:  # diverged: a finding about this setting, not a fault of the search
        return Trial(changes, {}, error=str(error))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return Trial(changes, report.best, len(report.history), report.best_epoch, report.seconds)
