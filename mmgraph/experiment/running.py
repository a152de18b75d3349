"""From an experiment to its result: train, choose on valid, open the test once, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgraph.data.files import owned
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity
from mmgraph.experiment.preparing import Prepared, fit_prepared, prepare
from mmgraph.experiment.result import Result
from mmgraph.experiment.saved import WEIGHTS, fill, read_weights
from mmgraph.experiment.stages import judge_stage, train_stage
from mmgraph.experiment.trained import TRAINED, Trained, make_room, run_folder, same_identity
from mmgraph.train.together import ALONE, Together

if TYPE_CHECKING:
    from mmgraph.data.split import Split


def run(
    experiment: Experiment,
    seed: int = 0,
    out: str | Path = "runs",
    resume: bool = False,
    *,
    overwrite: bool = False,
    source: str | None = None,
    split: Split | None = None,
    progress: bool = False,
    together: Together = ALONE,
) -> Result:
    """Trains, chooses the epoch on valid, opens the test once, and writes ``<out>/<experiment>/<seed>/``.

    The folder holds ``identity.json`` (first), ``log.jsonl``, ``checkpoint.pt`` while it trains, the model with what it
    reads (see :func:`mmgraph.save`), ``trained.json``, ``per_user.parquet`` and ``result.json`` (last, so its presence
    means complete). The opening of the test is written into ``<out>/openings.jsonl`` before the test is read.

    Args:
        experiment: what to run.
        seed: of everything random.
        out: parent folder of all runs.
        resume: return a complete result as it is; else continue from the checkpoint.
        overwrite: start over in a folder that holds a run; the journal keeps its openings.
        source: where the experiment came from, recorded with the result.
        split: an already built split, to save reading the data again.
        progress: show a bar.
        together: the processes that train it, each of which calls this with the same arguments on a disk they share;
            the first judges and writes, the others wait for its result.

    Raises:
        RunExists: (a ValueError) the folder holds a run, and neither ``resume`` nor ``overwrite`` was said.
        ValueError: ``resume``, but the folder holds a run of another identity; the message says what differs.
        FolderInUse: (a ValueError) another process runs it right now.
    """
    if not isinstance(experiment, Experiment):
        fix = "Experiment(name=…, split=…, model=…)"
        raise TypeError(f"run takes an Experiment, got a {type(experiment).__name__}: {fix}")
    if resume and overwrite:
        raise ValueError("resume goes on with what is there, overwrite starts over: say one of them")
    directory = run_folder(experiment, seed, out)
    built: Split = experiment.split() if split is None else split
    identity = experiment.identity(seed, built)
    if not together.leads:
        return _follow(experiment, seed, directory, identity, built, together)
    if resume and (directory / "result.json").exists():
        same_identity(directory, identity)
        together.from_leader(False)
        return together.from_leader(Result.load(directory))
    with owned(directory, "run"):
        make_room(directory, identity, resume, overwrite)
        together.from_leader(not experiment.model.closed_form and not (directory / TRAINED).exists())
        trained = train_stage(experiment, seed, Path(out), directory, identity, built, progress, together)
        result = judge_stage(experiment, seed, Path(out), directory, identity, trained, source, built)
    return together.from_leader(result)


def _follow(
    experiment: Experiment, seed: int, directory: Path, identity: Identity, split: Split, together: Together
) -> Result:
    """What the processes beside the first do of a run: train with it, if it has to train."""
    if together.from_leader(False):
        ready = prepare(experiment, seed, split=split)
        fit_prepared(experiment, ready, seed, directory, identity, together=together)
    return together.from_leader(None)


def train(
    experiment: Experiment,
    seed: int = 0,
    out: str | Path = "runs",
    *,
    split: Split | None = None,
    progress: bool = False,
) -> Trained:
    """The first half of :func:`run`: trains and chooses the epoch on valid, and leaves the test closed.

    ``run(..., resume=True)`` opens it later. What is there is gone on with, or returned.

    Args:
        experiment, seed, out, split, progress: as in :func:`run`.

    Raises:
        ValueError: the folder holds a run of another identity; the message says what differs.
        FolderInUse: (a ValueError) another process trains it right now.
    """
    directory = run_folder(experiment, seed, out)
    built: Split = experiment.split() if split is None else split
    identity = experiment.identity(seed, built)
    if (directory / TRAINED).exists():
        same_identity(directory, identity)
        return Trained.load(directory)
    with owned(directory, "run"):
        make_room(directory, identity, True, False)
        return train_stage(experiment, seed, Path(out), directory, identity, built, progress)


def run_all(
    experiment: Experiment,
    out: str | Path = "runs",
    resume: bool = False,
    *,
    overwrite: bool = False,
    seeds: Sequence[int] | None = None,
    baselines: bool = True,
    source: str | None = None,
    progress: bool = False,
    report: Callable[[Result], None] | None = None,
    together: Together = ALONE,
) -> list[Result]:
    """Runs an experiment for all its seeds, and its baselines for theirs; each split is built once.

    A model in closed form has nothing random, so it runs under its first seed alone.

    Args:
        experiment, out, resume, overwrite, source, progress: as in :func:`run`.
        seeds: in place of the experiment's own; baselines keep theirs.
        baselines: run them too, before the experiment.
        report: called with each result.
        together: as in :func:`run`.
    """
    splits: dict[Callable[[], Any], Split] = {}
    out_results = []
    for member in (*(experiment.baselines if baselines else ()), experiment):
        chosen = seeds if seeds is not None and member is experiment else member.seeds
        for seed in chosen[:1] if member.model.closed_form else chosen:
            if member.split not in splits:
                splits[member.split] = member.split()
            told = {"overwrite": overwrite, "source": source, "split": splits[member.split], "progress": progress}
            result = run(member, seed, out, resume, **told, together=together)
            out_results.append(result)
            if report is not None:
                report(result)
    return out_results


def restore(result: Result, experiment: Experiment, split: Split | None = None) -> Prepared:
    """The trained model of a finished run, on the graph of its test stage.

    Args:
        result: loaded from its folder.
        experiment: the one that made it.
        split: an already built split.

    Raises:
        ValueError: the experiment is not the one that made this result, or the data changed since.
        FileNotFoundError: the weights are gone.
        DamagedFile: (a ValueError) they are not what was written.
    """
    directory = result.directory or Path()
    split = experiment.split() if split is None else split
    same_identity(directory, experiment.identity(result.seed, split))
    ready = prepare(experiment, result.seed, "test", split)
    fill(ready.model, read_weights(directory), directory / WEIGHTS)
    return ready
