"""Tuning on valid: a study on disk that any number of processes may work, and that a kill at any moment leaves whole.

A study is a folder: Optuna's journal, a lease for each worker, a folder for each trial. Its trials are numbered slots.
What slot n tries follows from the study's seed and from the results of the batches before n alone, so the same study
comes out whoever did the work, in which order, and however often it was killed. The test is never opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmgraph.data.files import (
    DamagedFile,
    FileLock,
    cut_half_line,
    write_atomically,
    write_json,
)
from mmgraph.description import describe, hash_of
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.preparing import fit_prepared, prepare
from mmgraph.experiment.searching import Search, Trial, read_trial
from mmgraph.experiment.space import Choice, Integer
from mmgraph.train import Epoch, Pruned

if TYPE_CHECKING:
    from mmgraph.data.split import Split

_log = logging.getLogger(__name__)

DEATHS = 20  # a setting whose workers died so often (out of memory, say) is given up; fewer may be chance
_POLL = 0.2  # seconds between two looks at a study whose free slots wait for others' results


@dataclass(frozen=True)
class _Attempt:
    """One try at a slot, as the journal has it."""

    number: int
    slot: int
    state: str  # "running", "done" or "dead"
    worker: str
    parameters: dict[str, Any]
    value: float | None
    curve: tuple[tuple[int, float], ...]
    seconds: float


class Study:
    """The journal of a tuning and the rules of its slots. Use it through :func:`tune`.

    Args:
        experiment: what is tuned.
        split: its split.
        seed: of every trial, and of what is proposed.
        out: parent folder of all runs.

    Raises:
        ImportError: Optuna is not installed.
        ValueError: no space, or a recipe whose own values lie outside it.
        DamagedFile: the journal holds a line that is none.
    """

    def __init__(self, experiment: Experiment, split: Split, seed: int, out: str | Path) -> None:
        self.experiment, self.split, self.seed = experiment, split, seed
        self.space, self.rules = experiment.tuning.space, experiment.tuning
        if not self.space:
            raise ValueError(
                f"{experiment.name} has no space to tune: give it one, "
                'tuning=Tuning(space={"fit.learning_rate": Uniform(1e-4, 1e-1, log=True)})'
            )
        self.own = {path: experiment.setting(path) for path in self.space}
        outside = {path: value for path, value in self.own.items() if value not in self.space[path]}
        if outside:
            raise ValueError(f"the recipe's own values are the first trial, but {outside} lie outside the space")
        told = {"space": describe(self.space, portable=True), "rules": describe(self.rules, portable=True)}
        parts = {"experiment": experiment.identity(seed, split).parts, **told}
        self.id = hash_of(parts, size=8)
        self.directory = Path(out) / experiment.name / f"tune-{self.id}"
        self.worker = uuid.uuid4().hex
        self.lock = FileLock(self.directory / "study.lock")
        self.lease = FileLock(self.directory / "workers" / self.worker)
        with self.lock:
            if not (self.directory / "study.json").exists():
                write_json(self.directory / "study.json", {"id": self.id, **parts})
            self._study = self._open()

    def _open(self) -> Any:
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ImportError:
            raise ImportError("tuning needs Optuna: pip install 'mmgraph[tune]'") from None
        path = self.directory / "journal.jsonl"
        lock: Any = FileLock(self.directory / "journal.lock")
        with lock, path.open("a+b") as file:
            if torn := cut_half_line(file):
                _log.warning("%s ended in half a line (%d bytes), which was cut", path, torn)
        try:
            with _quiet():
                storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
                return optuna.create_study(
                    storage=storage, study_name="tune", direction="maximize", load_if_exists=True
                )
        except (ValueError, KeyError, AssertionError, AttributeError) as error:
            raise DamagedFile(f"{path} is no journal of a study: {error}") from None

    def attempts(self) -> list[_Attempt]:
        """All attempts, in the order they began."""
        out = []
        for trial in self._study.get_trials(deepcopy=False):
            told = trial.user_attrs
            done = trial.state.is_finished() and "outcome" in told
            out.append(
                _Attempt(
                    trial.number,
                    told["slot"],
                    "done" if done else "dead" if trial.state.is_finished() else "running",
                    told["worker"],
                    dict(trial.params),
                    told.get("value"),
                    tuple(map(tuple, told.get("curve", ()))),
                    float(told.get("seconds", 0.0)),
                )
            )
        return out

    def claim(self, trials: int, seconds: float | None) -> _Attempt | str:
        """The next free slot, taken; or ``"wait"`` (others have to finish first) or ``"over"``."""
        with self.lock:
            self._bury()
            attempts = self.attempts()
            done = {a.slot: a for a in attempts if a.state == "done"}
            running = {a.slot: a for a in attempts if a.state == "running"}
            spent = seconds is not None and sum(a.seconds for a in done.values()) >= seconds
            free = [slot for slot in range(trials) if slot not in done and slot not in running]
            if spent or not free:
                return "wait" if running else "over"
            slot = free[0]
            first = self._batch_begins(slot)
            if any(earlier not in done for earlier in range(first)):
                return "wait"
            before = [a for a in attempts if a.slot == slot]
            if before:  # its worker died
                parameters = before[0].parameters
            else:
                beside = [running.get(s) or done[s] for s in range(first, slot)]
                parameters = self._propose(slot, [done[s] for s in range(first)], beside)
            return self._begin(slot, parameters)

    def _batch_begins(self, slot: int) -> int:
        """Results of the slots before this one are what a slot may know."""
        past = slot - self.rules.startup
        return 0 if past < 0 else self.rules.startup + past // self.rules.batch * self.rules.batch

    def _begin(self, slot: int, parameters: dict[str, Any]) -> _Attempt:
        from optuna.trial import TrialState, create_trial

        told = {"slot": slot, "worker": self.worker}
        distributions = self._distributions()
        trial = create_trial(state=TrialState.RUNNING, params=parameters, distributions=distributions, user_attrs=told)
        trial.datetime_start = datetime.now()
        self._study.add_trial(trial)
        return next(a for a in self.attempts() if a.slot == slot and a.worker == self.worker and a.state == "running")

    def _bury(self) -> None:
        """Fails what workers that are gone left running; their slots are free again."""
        for attempt in self.attempts():
            if attempt.state == "running" and attempt.worker != self.worker and self._is_dead(attempt.worker):
                self._tell(attempt.number, "FAIL", {})
                deaths = sum(a.slot == attempt.slot and a.state == "dead" for a in self.attempts())
                _log.warning("a worker died in trial %d (%d times by now)", attempt.slot, deaths)
                if deaths >= DEATHS:
                    trial = Trial({}, {}, error=f"its worker died {deaths} times: out of memory?")
                    write_json(self.folder(attempt.slot) / "trial.json", describe(vars(trial)))
                    self._write_outcome(self._begin(attempt.slot, attempt.parameters), trial)

    def _is_dead(self, worker: str) -> bool:
        lease = FileLock(self.directory / "workers" / worker)
        if not lease.acquire(wait=False):
            return False
        lease.path.unlink(missing_ok=True)
        lease.release()
        return True

    def _tell(self, number: int, state: str, told: Mapping[str, Any]) -> None:
        from optuna.trial import Trial as OptunaTrial
        from optuna.trial import TrialState

        frozen = self._study.get_trials(deepcopy=False)[number]
        trial = OptunaTrial(self._study, frozen._trial_id)
        for key, value in told.items():
            trial.set_user_attr(key, value)
        value = told.get("value")
        with _quiet():
            if state == "COMPLETE":
                self._study.tell(number, value, state=TrialState.COMPLETE)
            else:
                self._study.tell(number, state=TrialState.FAIL)

    def finish(self, attempt: _Attempt, trial: Trial) -> None:
        """Writes an attempt's outcome into the journal."""
        with self.lock:
            self._write_outcome(attempt, trial)

    def _write_outcome(self, attempt: _Attempt, trial: Trial) -> None:
        value = trial.valid.get(self.experiment.fit.monitor)
        told = {
            "value": value,
            "curve": [list(point) for point in trial.curve],
            "seconds": trial.seconds,
            "error": trial.error,
            "pruned": trial.pruned,
            "outcome": "failed" if value is None else "pruned" if trial.pruned else "finished",
        }
        self._tell(attempt.number, "FAIL" if value is None else "COMPLETE", told)

    def folder(self, slot: int) -> Path:
        """Where a slot's trial lies."""
        return self.directory / "trials" / f"{slot:04d}"

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        out: dict[str, Any] = {}
        for path, values in self.space.items():
            if isinstance(values, Choice):
                out[path] = CategoricalDistribution(tuple(range(len(values.values))))
            elif isinstance(values, Integer):
                out[path] = IntDistribution(values.low, values.high, log=values.log)
            else:
                out[path] = FloatDistribution(values.low, values.high, log=values.log)
        return out

    def _propose(self, slot: int, known: list[_Attempt], beside: list[_Attempt]) -> dict[str, Any]:
        """The parameters of a slot, from the results before its batch and the proposals beside it."""
        if slot == 0:
            return {path: self.space[path].to_parameter(value) for path, value in self.own.items()}
        import optuna
        from optuna.samplers import RandomSampler, TPESampler
        from optuna.trial import TrialState, create_trial

        seed = int.from_bytes(hashlib.blake2b(f"{self.id}/{slot}".encode(), digest_size=4).digest())
        distributions = self._distributions()
        with _quiet():
            sampler: Any = RandomSampler(seed=seed)
            if slot >= self.rules.startup:
                sampler = TPESampler(
                    seed=seed,
                    multivariate=True,
                    constant_liar=True,
                    n_startup_trials=min(self.rules.startup, len(known)),
                )
            memory = optuna.create_study(sampler=sampler, direction="maximize")
            if slot >= self.rules.startup:
                values = [a.value for a in known if a.value is not None]
                worst = min(values, default=0.0)
                for attempt in sorted(known, key=lambda a: a.slot):
                    value = worst if attempt.value is None else attempt.value
                    memory.add_trial(create_trial(params=attempt.parameters, distributions=distributions, value=value))
                for attempt in sorted(beside, key=lambda a: a.slot):
                    running = create_trial(
                        state=TrialState.RUNNING, params=attempt.parameters, distributions=distributions
                    )
                    running.datetime_start = datetime.now()
                    memory.add_trial(running)
            return dict(memory.ask(distributions).params)

    def changes(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a slot's parameters change in the experiment."""
        if all(self.space[p].to_parameter(v) == parameters[p] for p, v in self.own.items()):
            return dict(self.own)
        return {path: values.from_parameter(parameters[path]) for path, values in self.space.items()}

    def rivals(self, slot: int) -> list[tuple[tuple[int, float], ...]]:
        """The learning curves that a slot is pruned against: finished trials before its batch."""
        first = self._batch_begins(slot)
        return [a.curve for a in self.attempts() if a.state == "done" and a.slot < first and a.value is not None]

    def trials(self) -> list[tuple[int, Trial]]:
        """The finished slots and their trials, in order."""
        out = []
        for attempt in sorted((a for a in self.attempts() if a.state == "done"), key=lambda a: a.slot):
            trial = read_trial(self.folder(attempt.slot) / "trial.json", self.changes(attempt.parameters))
            if trial is None:
                raise DamagedFile(f"{self.folder(attempt.slot)}: trial.json is gone or damaged")
            out.append((attempt.slot, trial))
        return out


@dataclass
class _Prune:
    """Ends a trial whose best so far is below a quantile of its rivals' at the same epoch."""

    rivals: list[tuple[tuple[int, float], ...]]
    below: float
    warm_up: int

    def on_epoch(self, epoch: Epoch) -> None:
        """Looks at all epochs so far, so that a resumed trial is judged as one that was not."""
        best = -math.inf
        for row in epoch.report.history:
            moment, value = int(row["epoch"]), row.get(epoch.monitor)
            if value is None:
                continue
            best = max(best, value)
            others = [max((v for e, v in curve if e <= moment), default=-math.inf) for curve in self.rivals]
            others = [v for v in others if v > -math.inf]
            if moment >= self.warm_up and len(others) >= 4 and best < float(np.quantile(others, self.below)):
                raise Pruned(f"epoch {moment}: {best:.4f} is below the finished trials' {self.below} quantile")

    def on_start(self, start: Any) -> None:
        """Nothing."""

    def on_step(self, step: Any) -> None:
        """Nothing."""

    def on_end(self, report: Any) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep: the history says it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


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


def _attempt(study: Study, attempt: _Attempt, split: Split, progress: bool) -> Trial:
    folder, changes = study.folder(attempt.slot), study.changes(attempt.parameters)
    there = read_trial(folder / "trial.json", changes)
    if there is not None:
        return there
    variant = study.experiment.variant(changes)
    identity = variant.identity(study.seed, split)
    prune = ()
    if study.rules.prune_below is not None and attempt.slot >= study.rules.startup:
        prune = (_Prune(study.rivals(attempt.slot), study.rules.prune_below, study.rules.warm_up),)
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says nothing meanwhile: neither that a study was made nor that an option is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
