"""Tuning on valid: works a :class:`~mmgraph.experiment.study.Study` to its end. The test is never opened."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgraph.data.files import write_atomically, write_json
from mmgraph.description import describe
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.preparing import fit_prepared, prepare
from mmgraph.experiment.pruning import Prune
from mmgraph.experiment.searching import Search, Trial, read_trial
from mmgraph.experiment.study import Attempt, Study

if TYPE_CHECKING:
    from mmgraph.data.split import Split

_POLL = 0.2  # seconds between two looks at a study whose free slots wait for others' results


def tune(
    experiment: Experiment,
    trials: int = 50,
    seconds: float | None = None,
    *,
    seed: int | None = None,
    out: str | Path = "runs",
    source: str | None = None,
    split: Split | None = None,
    progress: bool = False,
) -> Search:
    """Tunes an experiment's ``tuning.space`` on valid. Run again, or beside itself, it goes on with the same study.

    The first trial is the recipe's own setting, then ``startup`` draws at random, then Optuna's multivariate TPE, a
    batch at a time. The study lies in ``<out>/<experiment>/tune-<id>/``, named by everything that determines it.
    Workers are processes: start this in as many as you like (``mmgraph tune --workers``). One that dies, however it
    dies, loses nothing: its trial is gone on with by another.

    When it is over the best setting lies there as ``best.json`` and, where ``source`` is known, as ``best.py``, whose
    function ``best`` returns the experiment: ``mmgraph run …/best.py:best``.

    Args:
        experiment: what to tune.
        trials: how many settings, at most.
        seconds: of training, over all workers, at most.
        seed: of every trial; the experiment's first by default.
        out: parent folder of all runs.
        source: ``module:function`` or ``path/to/file.py:function`` that returns the experiment.
        split: an already built split.
        progress: show bars.

    Returns:
        Search: the experiment with the best setting, named ``<name>-tuned``, and all trials.

    Raises:
        ImportError: Optuna is not installed (``mmgraph[tune]``).
        ValueError: no space, a recipe outside it, or no trial that worked.
    """
    if trials < 1 or (seconds is not None and not seconds > 0):
        raise ValueError(f"a tuning needs at least one trial and some seconds, got {trials} and {seconds}")
    seed = experiment.seeds[0] if seed is None else seed
    built: Split = experiment.split() if split is None else split
    study = Study(experiment, built, seed, out)
    with study.lease:
        while (claimed := study.claim(trials, seconds)) != "over":
            if isinstance(claimed, str):
                time.sleep(_POLL)
                continue
            study.finish(claimed, _attempt(study, claimed, built, progress))
    study.lease.path.unlink(missing_ok=True)
    return conclude(study, source)


def _attempt(study: Study, attempt: Attempt, split: Split, progress: bool) -> Trial:
    folder, changes = study.folder(attempt.slot), study.changes(attempt.parameters)
    there = read_trial(folder / "trial.json", changes)
    if there is not None:
        return there
    variant = study.experiment.variant(changes)
    identity = variant.identity(study.seed, split)
    prune = ()
    if study.rules.prune_below is not None and attempt.slot >= study.rules.startup:
        prune = (Prune(study.rivals(attempt.slot), study.rules.prune_below, study.rules.warm_up),)
    try:
        ready = prepare(variant, study.seed, split=split)
        report = fit_prepared(variant, ready, study.seed, folder, identity, callbacks=prune, progress=progress)
        monitor = study.experiment.fit.monitor
        curve = tuple((int(row["epoch"]), float(row[monitor])) for row in report.history if monitor in row)
        trial = Trial(
            changes, report.best, len(report.history), report.best_epoch, report.seconds, None, report.pruned, curve
        )
    except (FloatingPointError, MemoryError) as error:  # a finding about this setting, not a fault of the study
        trial = Trial(changes, {}, error=str(error) or type(error).__name__)
    write_json(folder / "trial.json", describe(vars(trial)))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return trial


def conclude(study: Study, source: str | None) -> Search:
    """The trials of a study so far and the best of them, which is written beside them; see :func:`tune`.

    Raises:
        ValueError: no trial worked.
    """
    found = study.trials()
    if not any(trial.valid for _, trial in found):
        raise ValueError(f"no trial worked; the first failed with: {found[0][1].error}" if found else "no trial")
    monitor = study.experiment.fit.monitor
    search = Search(study.experiment, tuple(trial for _, trial in found), monitor, study.directory)
    best = search.best
    name = f"{study.experiment.name}-tuned"
    tuned = study.experiment.variant(best.changes, name=name)
    slot = next(number for number, trial in found if trial is best)
    told = {
        "study": study.id,
        "experiment": study.experiment.name,
        "source": source,
        "trial": slot,
        "trials": len(found),
        "monitor": monitor,
        "value": best.valid[monitor],
        "changes": describe(best.changes),
        "test_openings": 0,
    }
    with study.lock:
        write_json(study.directory / "best.json", told)
        if source is not None:
            write_atomically(study.directory / "best.py", _variant_file(study, best, slot, name, source).encode())
    return replace(search, experiment=tuned)


def _variant_file(study: Study, best: Trial, slot: int, name: str, source: str) -> str:
    """A Python file whose function ``best`` returns the tuned experiment."""
    where, _, function = source.rpartition(":")
    lines = [f'"""{study.experiment.name} at the setting that valid chose: trial {slot} of study {study.id}."""', ""]
    if where.endswith(".py"):
        path = Path(where).resolve()
        lines += ["import sys", "", f"sys.path.insert(0, {str(path.parent)!r})", ""]
        where = path.stem
    lines += [f"from {where} import {function} as recipe  # noqa: E402", "", "", "def best():"]
    lines += [
        f'    """The recipe with {len(best.changes)} settings changed."""',
        "    own = recipe()",
        "    changes = {",
    ]
    for path, value in best.changes.items():
        literal = value is None or isinstance(value, (bool, int, float, str))
        values: Any = study.space[path]
        text = repr(value) if literal else f"own.tuning.space[{path!r}].values[{values.to_parameter(value)}]"
        lines.append(f"        {path!r}: {text},")
    return "\n".join([*lines, "    }", f"    return own.variant(changes, name={name!r})", ""])
