"""A suite as one queue that any number of processes may work.

Each run is claimed by the lock of its own folder and done when a result of the same identity lies there, so a suite is
started again after a kill as it was started first. Everything is chosen on valid before any test is opened; then one
step opens them all.
"""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgraph.data.files import DamagedFile, FileLock, FolderInUse, owned, read_json, write_json
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import read_identity
from mmgraph.experiment.result import Result
from mmgraph.experiment.running import run, train
from mmgraph.experiment.study import Study
from mmgraph.experiment.suite import Job, Progress, Report, Suite
from mmgraph.experiment.trained import TRAINED, Trained, run_folder
from mmgraph.experiment.tuning import conclude, tune

if TYPE_CHECKING:
    from mmgraph.data.split import Split

_log = logging.getLogger(__name__)
_POLL = 0.2  # seconds between two looks at runs that other processes are at


class _Queue:
    """The runs of a suite in a place, and what this process knows of them."""

    def __init__(self, suite: Suite, out: Path, report: Report | None, progress: bool) -> None:
        self.suite, self.out, self.report, self.progress = suite, out, report, progress
        self.splits: dict[Any, Split] = {}
        self.folder = out / "suites" / suite.name
        self.members = suite.members()

    def split(self, experiment: Experiment) -> Split:
        if experiment.split not in self.splits:
            self.splits[experiment.split] = experiment.split()
        return self.splits[experiment.split]

    def tell(self, tuning: str | None = None) -> None:
        if self.report is not None:
            self.report(Progress(self.suite.name, tuple(self.look(*job) for job in self.jobs()), tuning))

    def jobs(self) -> list[tuple[Experiment, int]]:
        out = []
        for member in self.members:
            seeds = member.seeds if self.suite.seeds is None else self.suite.seeds
            out += [(member, seed) for seed in (seeds[:1] if member.model.closed_form else seeds)]
        return out

    def tune(self, wanted: Callable[[str], bool]) -> None:
        """Puts the tuned experiment in the place of each that has a space; all processes work one study."""
        for place, member in enumerate(self.members):
            if not self.suite.trials or not member.tuning.space or not wanted(member.name):
                continue
            self.tell(tuning=member.name)
            budget = {"trials": self.suite.trials, "seconds": self.suite.seconds}
            found = tune(member, **budget, out=self.out, split=self.split(member), progress=self.progress)
            self.members[place] = found.experiment

    def failure(self, experiment: Experiment, seed: int) -> Path:
        return self.folder / "failed" / f"{experiment.name}-{seed}.json"

    def look(self, experiment: Experiment, seed: int) -> Job:
        """Where a run stands, by what lies on disk."""
        directory, name = run_folder(experiment, seed, self.out), experiment.name
        if self.is_mine(experiment, seed):
            with contextlib.suppress(FileNotFoundError, DamagedFile):
                result = Result.load(directory)
                return Job(name, seed, "done", result.training.get("seconds"), result.opened)
            with contextlib.suppress(FileNotFoundError, DamagedFile):
                return Job(name, seed, "trained", Trained.load(directory).training.get("seconds"))
        with contextlib.suppress(FileNotFoundError, DamagedFile):
            told = read_json(self.failure(experiment, seed))
            if told.get("identity") == self.identity(experiment, seed):
                return Job(name, seed, "failed", error=told.get("error"))
        lock = FileLock(directory / "lock")
        if directory.exists():
            free = lock.acquire(wait=False)
            lock.release()
            if not free:
                return Job(name, seed, "running")
        return Job(name, seed, "waiting")

    def identity(self, experiment: Experiment, seed: int) -> str:
        return experiment.identity(seed, self.split(experiment)).id

    def is_mine(self, experiment: Experiment, seed: int) -> bool:
        with contextlib.suppress(DamagedFile):
            there = read_identity(run_folder(experiment, seed, self.out))
            return there is not None and there.id == self.identity(experiment, seed)
        return False

    def make_room(self, experiment: Experiment, seed: int) -> None:
        """Moves a run of another identity aside, to ``stale/``; nothing is lost."""
        directory = run_folder(experiment, seed, self.out)
        if not directory.exists() or self.is_mine(experiment, seed):
            return
        before = None
        with contextlib.suppress(DamagedFile):
            before = read_identity(directory)
        if before is None and not any((directory / name).exists() for name in ("result.json", TRAINED, "log.jsonl")):
            return
        with owned(directory, "suite"):
            name = "unknown" if before is None else before.id
            aside = self.out / "stale" / f"{experiment.name}-{seed}-{name}"
            while aside.exists():
                aside = aside.with_name(aside.name + "-again")
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(directory, aside)
            _log.warning("%s was of another configuration or of other data: moved to %s", directory, aside)

    def train(self, experiment: Experiment, seed: int) -> None:
        try:
            self.make_room(experiment, seed)
            train(experiment, seed, self.out, split=self.split(experiment), progress=self.progress)
        except FolderInUse:
            raise
        except (ValueError, TypeError, KeyError, FloatingPointError, RuntimeError, MemoryError) as error:
            told = {"identity": self.identity(experiment, seed), "error": f"{type(error).__name__}: {error}"}
            write_json(self.failure(experiment, seed), told)
            _log.warning("%s seed %d failed: %s", experiment.name, seed, error)


def run_suite(
    suite: Suite,
    out: str | Path = "runs",
    *,
    only: Sequence[str] = (),
    retry: bool = False,
    mock: bool = False,
    source: str | None = None,
    progress: bool = False,
    report: Report | None = None,
) -> list[Result]:
    """Works a suite until nothing is left to do: tunes, trains, and then opens the tests, all in one step.

    Start it in as many processes as you like; each takes the next free run. What is done under the same identity is
    skipped, what was killed is gone on with, a run of an older configuration is moved to ``<out>/stale/``. A run that
    fails is written down and left out.

    Args:
        suite: what to do.
        out: parent folder of all runs.
        only: names of experiments, ``*`` allowed; the tests are opened when nothing else of the suite is left either.
        retry: try again what failed.
        mock: one step of everything, under names that begin with ``mock-``; no test is opened.
        source: recorded with each result.
        progress: show a bar for each training.
        report: called at each change.

    Returns:
        The results, in the table's order; none while runs are missing, and none of a mock.

    Raises:
        ValueError: ``only`` names no experiment.
    """
    queue = _Queue(suite.mocked() if mock else suite, Path(out), report, progress)
    patterns = [f"mock-{p}" if mock else p for p in only]
    names = [member.name for member in queue.members]

    def wanted(name: str) -> bool:
        plain = name.removesuffix("-tuned")
        return not patterns or any(fnmatch.fnmatch(n, p) for p in patterns for n in (name, plain))

    if not any(wanted(name) for name in names):
        raise ValueError(f"only={list(only)} names no experiment of {suite.name}; it has {names}")
    if retry:
        for member, seed in queue.jobs():
            queue.failure(member, seed).unlink(missing_ok=True)
    queue.tune(wanted)
    while True:
        busy = False
        for member, seed in queue.jobs():
            if not wanted(member.name) or queue.look(member, seed).state not in ("waiting", "running"):
                continue
            queue.tell()
            try:
                queue.train(member, seed)
            except FolderInUse:
                busy = True
        queue.tell()
        if not busy:
            break
        time.sleep(_POLL)
    if mock or any(queue.look(*job).state in ("waiting", "running") for job in queue.jobs()):
        return []
    return _open_tests(queue, source)


def _open_tests(queue: _Queue, source: str | None) -> list[Result]:
    """The step after the choice: one process opens the test of every run that is trained."""
    results = []
    with FileLock(queue.folder / "finalise.lock"):
        for member, seed in queue.jobs():
            if queue.look(member, seed).state in ("trained", "done"):
                split = queue.split(member)
                results.append(run(member, seed, queue.out, True, source=source, split=split))
                queue.tell()
    return results


def suite_progress(suite: Suite, out: str | Path = "runs") -> Progress:
    """Where a suite stands, read from disk alone; nothing is trained.

    An experiment that is still to be tuned is shown under its own name.
    """
    queue = _on_disk(suite, out)
    return Progress(suite.name, tuple(queue.look(*job) for job in queue.jobs()))


def suite_results(suite: Suite, out: str | Path = "runs") -> list[Result]:
    """The finished runs of a suite under its present identity, in the table's order; nothing is trained or opened.

    What lies there of another configuration or of other data is left out. ``suite_progress`` says what is missing.
    """
    queue = _on_disk(suite, out)
    done = [job for job in queue.jobs() if queue.look(*job).state == "done"]
    return [Result.load(run_folder(member, seed, queue.out)) for member, seed in done]


def _on_disk(suite: Suite, out: str | Path) -> _Queue:
    """The queue with each tuned experiment in the place of the one that was tuned, where its study is over."""
    queue = _Queue(suite, Path(out), None, False)
    if suite.trials:
        for place, member in enumerate(queue.members):
            with contextlib.suppress(FileNotFoundError, DamagedFile, ValueError):
                queue.members[place] = _tuned(queue, member)
    return queue


def _tuned(queue: _Queue, member: Experiment) -> Experiment:
    if not member.tuning.space:
        return member
    study = Study(member, queue.split(member), member.seeds[0], queue.out)
    if not study.is_over(queue.suite.trials, queue.suite.seconds):
        return member
    return conclude(study, None).experiment
