"""A study on disk that any number of processes may work, and that a kill at any moment leaves whole.

A study is a folder: Optuna's journal, a lease for each worker, a folder for each trial. Its trials are numbered slots.
What slot n tries follows from the study's seed and from the results of the batches before n alone, so the same study
comes out whoever did the work, in which order, and however often it was killed.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgraph.data.files import DamagedFile, FileLock, cut_half_line, write_json
from mmgraph.description import describe, hash_of
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.proposing import batch_begins, distributions_of, propose, quiet
from mmgraph.experiment.searching import Trial, read_trial

if TYPE_CHECKING:
    from mmgraph.data.split import Split

_log = logging.getLogger(__name__)

DEATHS = 20  # a setting whose workers died so often (out of memory, say) is given up; fewer may be chance


@dataclass(frozen=True)
class Attempt:
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
            with quiet():
                storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
                return optuna.create_study(
                    storage=storage, study_name="tune", direction="maximize", load_if_exists=True
                )
        except (ValueError, KeyError, AssertionError, AttributeError) as error:
            raise DamagedFile(f"{path} is no journal of a study: {error}") from None

    def attempts(self) -> list[Attempt]:
        """All attempts, in the order they began."""
        out = []
        for trial in self._study.get_trials(deepcopy=False):
            told = trial.user_attrs
            done = trial.state.is_finished() and "outcome" in told
            out.append(
                Attempt(
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

    def claim(self, trials: int, seconds: float | None) -> Attempt | str:
        """The next free slot, taken; or ``"wait"`` (others have to finish first) or ``"over"``."""
        with self.lock:
            self._bury()
            attempts = self.attempts()
            done = {a.slot: a for a in attempts if a.state == "done"}
            running = {a.slot: a for a in attempts if a.state == "running"}
            free = [slot for slot in range(trials) if slot not in done and slot not in running]
            if _spent(attempts, seconds) or not free:
                return "wait" if running else "over"
            slot = free[0]
            first = batch_begins(slot, self.rules)
            if any(earlier not in done for earlier in range(first)):
                return "wait"
            before = [a for a in attempts if a.slot == slot]
            if before:  # its worker died
                parameters = before[0].parameters
            else:
                beside = [running.get(s) or done[s] for s in range(first, slot)]
                parameters = self._propose(slot, [done[s] for s in range(first)], beside)
            return self._begin(slot, parameters)

    def is_over(self, trials: int, seconds: float | None) -> bool:
        """Whether a tuning of this budget has nothing left to claim, nor to wait for."""
        attempts = self.attempts()
        done = {a.slot for a in attempts if a.state == "done"}
        waits = any(a.state == "running" for a in attempts)
        return not waits and (_spent(attempts, seconds) or done >= set(range(trials)))

    def _propose(self, slot: int, known: list[Attempt], beside: list[Attempt]) -> dict[str, Any]:
        if slot == 0:
            return {path: self.space[path].to_parameter(value) for path, value in self.own.items()}
        return propose(self.id, slot, self.rules, known, beside)

    def _begin(self, slot: int, parameters: dict[str, Any]) -> Attempt:
        from optuna.trial import TrialState, create_trial

        told = {"slot": slot, "worker": self.worker}
        distributions = distributions_of(self.space)
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
        with quiet():
            if state == "COMPLETE":
                self._study.tell(number, value, state=TrialState.COMPLETE)
            else:
                self._study.tell(number, state=TrialState.FAIL)

    def finish(self, attempt: Attempt, trial: Trial) -> None:
        """Writes an attempt's outcome into the journal."""
        with self.lock:
            self._write_outcome(attempt, trial)

    def _write_outcome(self, attempt: Attempt, trial: Trial) -> None:
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

    def changes(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a slot's parameters change in the experiment."""
        if all(self.space[p].to_parameter(v) == parameters[p] for p, v in self.own.items()):
            return dict(self.own)
        return {path: values.from_parameter(parameters[path]) for path, values in self.space.items()}

    def rivals(self, slot: int) -> list[tuple[tuple[int, float], ...]]:
        """The learning curves that a slot is pruned against: finished trials before its batch."""
        first = batch_begins(slot, self.rules)
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


def _spent(attempts: list[Attempt], seconds: float | None) -> bool:
    return seconds is not None and sum(a.seconds for a in attempts if a.state == "done") >= seconds
