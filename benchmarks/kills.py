"""``mmgraph bench`` and ``mmgraph tune`` killed at random moments, against the same left alone.

    python -m benchmarks.kills --json benchmarks/results/kills.jsonl

Two processes work one suite (or one study). At random moments one of them or both get SIGKILL and are started again,
until that has happened ``--rounds`` times; where the work ends before, it begins again in a new folder. Then every run,
number, trial and the best setting have to be those of the work left alone, each once, and nothing may be left running.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ops.rows import write
from mmgraph.data.files import read_lines
from mmgraph.experiment import Experiment, Suite, finished, suite_progress
from mmgraph.experiment.journal import JOURNAL
from mmgraph.experiment.study import Study
from mmgraph.recipes.suites import quick

TRIALS = 24
LONGER = {"fit.epochs": 80, "fit.patience": 80}
LIMIT = 400  # seconds without an end, after which the work counts as stuck


def recipe() -> Experiment:
    """The matrix factorisation of ``quick`` with its space, for 80 epochs."""
    return next(e for e in quick().experiments if e.name == "quick-bprmf").variant(LONGER)


def suite() -> Suite:
    """``quick`` with four seeds, 80 epochs and six trials."""
    rows = tuple(row if row.model.closed_form else row.variant(LONGER) for row in quick().experiments)
    return quick().model_copy(update={"name": "kills", "experiments": rows, "seeds": (0, 1, 2, 3), "trials": 6})


@dataclass(frozen=True)
class Kind:
    """A command that is killed, and what has to be the same afterwards.

    Attributes:
        command: arguments of ``mmgraph``, without ``--out``.
        found: folder -> all its numbers.
        faults: folder -> what is lost, doubled or left running.
    """

    command: tuple[str, ...]
    found: Callable[[Path], Any]
    faults: Callable[[Path], list[str]]


def _table(out: Path) -> list[Any]:
    return [(r.experiment, r.seed, r.identity, r.protocol, repr(r.valid), repr(r.test)) for r in finished(out)]


def _suite_faults(out: Path) -> list[str]:
    stands = suite_progress(suite(), out)
    wrong = [f"{job.experiment} {job.seed}: {job.state}" for job in stands.jobs if job.state != "done"]
    wanted = {(job.experiment, job.seed) for job in stands.jobs}
    there = Counter((r.experiment, r.seed) for r in finished(out))
    wrong += [f"{run}: {there[run]} times" for run in wanted | set(there) if there[run] != (run in wanted)]
    for member in suite().members():
        if member.tuning.space:
            wrong += _study_faults(Study(member, member.split(), member.seeds[0], out), suite().trials)
    return wrong


def _study_faults(study: Study, trials: int) -> list[str]:
    done = Counter(a.slot for a in study.attempts() if a.state == "done")
    wrong = [f"slot {slot}: done {done[slot]} times" for slot in range(trials) if done[slot] != 1]
    return wrong + [f"slot {a.slot}: left running" for a in study.attempts() if a.state == "running"]


def _study(out: Path) -> Study:
    return Study(recipe(), recipe().split(), recipe().seeds[0], out)


def _trials(out: Path) -> list[Any]:
    study = _study(out)
    told = [(slot, str(t.changes), repr(t.valid), t.pruned, t.error) for slot, t in study.trials()]
    return [*told, (study.directory / "best.json").read_text()]


KINDS = {
    "bench": Kind(("bench", "benchmarks.kills:suite"), _table, _suite_faults),
    "tune": Kind(
        ("tune", "benchmarks.kills:recipe", "--trials", str(TRIALS)),
        _trials,
        lambda out: _study_faults(_study(out), TRIALS),
    ),
}


@dataclass
class Work:
    """Two processes at one folder.

    Attributes:
        ended: exit code and last words of those that failed by themselves.
    """

    kind: Kind
    out: Path
    ended: list[str] = field(default_factory=list)
    processes: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Brings the number of processes to two."""
        command = [sys.executable, "-m", "mmgraph.cli", *self.kind.command, "--out", str(self.out)]
        while len(self.processes) < 2:
            said = self.out.parent / f"{self.out.name}-{time.monotonic_ns()}.txt"
            with said.open("wb") as file:
                self.processes[said] = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def kill(self, which: Sequence[int]) -> int:
        """SIGKILL to those of the two that still work, with whatever they started; how many died of it."""
        chosen = [list(self.processes)[i] for i in which]
        alive = [said for said in chosen if self.processes[said].poll() is None]
        for said in alive:
            os.killpg(self.processes[said].pid, signal.SIGKILL)
        for said in alive:
            self.processes.pop(said).wait()
        return len(alive)

    def over(self, wait: float) -> bool:
        """Whether both have ended by themselves within some seconds."""
        until = time.monotonic() + wait
        while time.monotonic() < until:
            if all(process.poll() is not None for process in self.processes.values()):
                failed = [said for said, process in self.processes.items() if process.returncode]
                self.ended += [said.read_text(errors="replace")[-600:] for said in failed]
                self.processes.clear()
                return True
            time.sleep(0.02)
        return False


def killed(kind: Kind, whole: float, rounds: int, chance: random.Random, folder: Path) -> tuple[list[Work], int]:
    """Works folder after folder until ``rounds`` kills were made; returns them and how many processes died.

    Args:
        kind: what.
        whole: seconds that the work takes when left alone; a kill comes within half of it.
        rounds: moments.
        chance: decides moments and victims.
        folder: parent of the folders.
    """
    works: list[Work] = []
    made = deaths = 0
    while made < rounds:
        works.append(Work(kind, folder / f"killed-{len(works)}"))
        work = works[-1]
        work.start()
        while made < rounds and not work.over(chance.uniform(0, whole / 2)):
            died = work.kill(chance.choice([[0], [1], [0, 1]]))
            made, deaths = made + bool(died), deaths + died
            print(f"{made} of {rounds} kills, in folder {len(works)}", flush=True)
            work.start()
        if work.processes and not work.over(LIMIT):
            work.kill(range(len(work.processes)))
            work.ended.append(f"not over after {LIMIT} s")
    return works, deaths


def measure(name: str, rounds: int, seed: int, folder: Path) -> dict[str, object]:
    """One row: the work left alone, and killed ``rounds`` times."""
    kind = KINDS[name]
    began = time.monotonic()
    alone = Work(kind, folder / "alone")
    alone.start()
    if not alone.over(LIMIT) or alone.ended:
        raise SystemExit(f"{name} failed when left alone: {alone.ended}")
    whole = time.monotonic() - began
    want = kind.found(alone.out)
    works, deaths = killed(kind, whole, rounds, random.Random(seed), folder)
    differ = [str(work.out.name) for work in works if kind.found(work.out) != want]
    faults = [f"{work.out.name}: {fault}" for work in works for fault in kind.faults(work.out)]
    if name == "bench":
        lines = [line for work in works for line in read_lines(work.out / JOURNAL)]
        again = sum(line.get("event") == "open" for line in lines) - len(want) * len(works)
    else:
        again = sum((work.out / JOURNAL).exists() for work in works)
    return {
        "bench": "kills",
        "command_killed": name,
        "rounds": rounds,
        "seed": seed,
        "processes_killed": deaths,
        "folders": len(works),
        "rows": len(want),
        "folders_that_differ": differ,
        "lost_doubled_or_running": faults,
        "failed_by_themselves": [said for work in works for said in work.ended],
        "tests_opened_again_after_a_kill": again,
    }


def main(arguments: list[str] | None = None) -> None:
    """Reads the arguments, measures and writes a row for each kind; exit code 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    given = parser.parse_args(arguments)
    rows = []
    for name in given.kinds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, given.rounds, given.seed, Path(folder)))
        print(rows[-1], flush=True)
        write(given.json, rows[-1:], "cpu")
    bad = ("folders_that_differ", "lost_doubled_or_running", "failed_by_themselves")
    if any(row[key] for row in rows for key in bad):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
