"""A suite is one queue: done work is skipped, killed work gone on with, and one step at the end opens the tests."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mmgraph.cli import app
from mmgraph.cli.board import Board, board
from mmgraph.data import random_split
from mmgraph.data.files import FileLock, read_lines
from mmgraph.experiment import (
    Experiment,
    Job,
    Progress,
    Result,
    Suite,
    Tuning,
    Uniform,
    extract,
    finished,
    index,
    openings,
    run,
    run_suite,
    suite_progress,
    suite_results,
    table,
    train,
)
from mmgraph.experiment.index import INDEX
from mmgraph.experiment.journal import JOURNAL
from mmgraph.experiment.trained import TRAINED, Trained, run_folder
from mmgraph.models import Popularity
from tests.experiment.toys import Dots, toy, toy_split, world


def popularity() -> Experiment:
    return toy(name="popularity", model=Popularity)


def tunable() -> Experiment:
    space = {"fit.learning_rate": Uniform(1e-3, 0.5, log=True)}
    return toy(name="tunable", seeds=(0,), tuning=Tuning(space=space, startup=2, batch=2))


def suite(**changes) -> Suite:
    rows = (toy(baselines=(popularity(),)), toy(name="wide", model_args={"embedding_dim": 8}), tunable())
    return Suite(**{"name": "small", "experiments": rows, "trials": 3, "metrics": ("recall@5",)} | changes)


def numbers(results: list[Result]) -> list[tuple]:
    return [(r.experiment, r.seed, r.identity, r.metric("recall@5"), r.metric("auc")) for r in results]


ROWS = [("popularity", 0), ("dots", 0), ("dots", 1), ("wide", 0), ("wide", 1), ("tunable-tuned", 0)]


def test_a_suite_tunes_trains_and_then_opens_every_test_in_one_step(tmp_path, monkeypatch):
    told: list[Progress] = []
    results = run_suite(suite(), tmp_path, report=told.append, source="here")
    assert [(r.experiment, r.seed) for r in results] == ROWS
    assert results[0].source == "here"
    states = [tuple(job.state for job in progress.jobs) for progress in told]
    first_opened = next(i for i, s in enumerate(states) if "done" in s)
    assert set(states[first_opened - 1]) == {"trained"}  # nothing was left to choose
    assert {"dots", "tunable"} & {progress.tuning for progress in told} == {"tunable"}
    assert [r.opened for r in results] == [1, 2, 3, 4, 5, 6]
    assert results[-1].opened == sum(o["times"] for o in openings(tmp_path, toy_split()))
    last = suite_progress(suite(), tmp_path)
    assert last == told[-1]
    assert (last.count("done"), last.count("waiting", "running"), last.estimate) == (6, 0, 0)
    assert isinstance(last.jobs[0], Job)
    assert last.seconds > 0

    monkeypatch.setattr(Dots, "loss", lambda *_: 1 / 0)  # nothing is trained twice
    again = run_suite(suite(), tmp_path)
    assert numbers(again) == numbers(results)
    assert len(read_lines(tmp_path / JOURNAL)) == 12


def test_a_row_whose_tuning_ended_by_its_seconds_is_in_the_table(tmp_path):
    short = suite(experiments=(tunable(),), seconds=1e-9)
    results = run_suite(short, tmp_path)
    assert [(r.experiment, r.seed) for r in results] == [("tunable-tuned", 0)]
    assert numbers(suite_results(short, tmp_path)) == numbers(results)
    longer = short.model_copy(update={"seconds": None})
    assert suite_results(longer, tmp_path) == []  # its tuning is not over


def test_a_run_made_outside_counts_and_one_of_other_settings_is_moved_aside(tmp_path):
    alone = suite(experiments=(toy(),), trials=0)
    mine = run(toy(), 0, tmp_path)
    results = run_suite(alone, tmp_path)
    assert results[0].environment == mine.environment
    changed = alone.model_copy(update={"experiments": (toy(model_args={"scale": 0.2}),)})
    assert [j.state for j in suite_progress(changed, tmp_path).jobs] == ["waiting", "waiting"]
    other = run_suite(changed, tmp_path)
    assert [r.identity for r in other] != [r.identity for r in results]
    aside = tmp_path / "stale" / f"dots-0-{mine.identity}"
    assert Result.load(aside).identity == mine.identity
    assert [r.identity for r in finished(tmp_path)] == [r.identity for r in other]


def test_only_some_rows_train_and_no_test_is_opened_before_all_are(tmp_path):
    whole = suite(trials=0)
    assert run_suite(whole, tmp_path, only=["dots", "pop*"]) == []
    states = {(j.experiment, j.seed): j.state for j in suite_progress(whole, tmp_path).jobs}
    assert states["dots", 1] == states["popularity", 0] == "trained"
    assert states["wide", 0] == states["tunable", 0] == "waiting"
    assert read_lines(tmp_path / JOURNAL) == []
    estimate = suite_progress(whole, tmp_path).estimate
    assert estimate is not None
    assert estimate > 0
    assert len(run_suite(whole, tmp_path, only=["wide", "tunable"])) == 6
    with pytest.raises(ValueError, match=r"only=\['none'\] names no experiment"):
        run_suite(whole, tmp_path, only=["none"])


def test_a_mock_is_one_step_of_everything_and_leaves_the_test_closed(tmp_path):
    split = toy_split()
    rows = tuple(m.variant(split=lambda: split) for m in (toy(), tunable()))
    assert run_suite(suite(experiments=rows), tmp_path, mock=True) == []
    assert split.openings == ()
    assert not (tmp_path / JOURNAL).exists()
    trained = Trained.load(run_folder(toy(name="mock-dots"), 0, tmp_path))
    assert trained.training["epochs"] == 1
    assert trained.metrics()["all"]["recall@5"] == trained.valid["all"]["recall@5"]
    assert sorted(p.parts[-3] for p in tmp_path.rglob(TRAINED)) == ["mock-dots", "mock-tunable-tuned"]


def test_a_run_that_fails_is_told_and_left_out_until_it_is_tried_again(tmp_path, monkeypatch):
    broken = suite(experiments=(toy(), toy(name="broken", model_args={"scale": 1e30})), trials=0, seeds=(0,))
    assert [r.experiment for r in run_suite(broken, tmp_path)] == ["dots"]
    failed = suite_progress(broken, tmp_path).jobs[1]
    assert (failed.state, failed.experiment) == ("failed", "broken")
    assert "not finite" in failed.error
    monkeypatch.setattr(Dots, "loss", lambda *_: 1 / 0)
    assert len(run_suite(broken, tmp_path)) == 1  # not tried again
    monkeypatch.undo()
    assert len(run_suite(broken, tmp_path, retry=True)) == 1


def test_a_run_of_another_process_is_waited_for(tmp_path):
    queue = suite(experiments=(toy(seeds=(0,)),), trials=0)
    lock = FileLock(tmp_path / "dots/0/lock")
    lock.acquire()
    assert suite_progress(queue, tmp_path).jobs[0].state == "running"
    told = []

    def report(progress: Progress) -> None:
        told.append(progress.jobs[0].state)
        if len(told) == 3:
            lock.release()

    assert len(run_suite(queue, tmp_path, report=report)) == 1
    assert told[:3] == ["running"] * 3


def test_training_alone_leaves_the_test_closed_and_running_goes_on_from_it(tmp_path, monkeypatch):
    whole = run(toy(), 0, tmp_path / "a")
    trained = train(toy(), 0, tmp_path / "b")
    assert isinstance(trained, Trained)
    assert not (tmp_path / "b" / JOURNAL).exists()
    assert train(toy(), 0, tmp_path / "b") == trained
    with pytest.raises(ValueError, match="another configuration"):
        train(toy(model_args={"scale": 0.2}), 0, tmp_path / "b")
    monkeypatch.setattr(Dots, "loss", lambda *_: 1 / 0)
    result = run(toy(), 0, tmp_path / "b", resume=True)
    assert result.test["all"] == pytest.approx(whole.test["all"], rel=0, abs=0, nan_ok=True)
    assert result.valid["all"] == pytest.approx(whole.valid["all"], rel=0, abs=0, nan_ok=True)
    assert set(result.per_user()["user"]) == set(whole.per_user()["user"])


def test_a_model_whose_weights_are_not_all_is_refused_before_its_test(tmp_path):
    class Forgetful(Dots):
        """Keeps what it learned in a plain attribute."""

        def loss(self, graph, batch):
            self.bonus = getattr(self, "bonus", 0) + 1
            return super().loss(graph, batch)

        def encode(self, graph, rows=None):
            emb = super().encode(graph, rows)
            return emb._replace(video=emb.video * (1 + getattr(self, "bonus", 0)))

    with pytest.raises(ValueError, match="Forgetful scores differently after its weights were saved and read"):
        run(toy(model=Forgetful), 0, tmp_path)
    assert openings(tmp_path, toy_split()) == []


def test_two_experiments_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two different experiments are named 'dots'"):
        suite(experiments=(toy(), toy(name="b", baselines=(toy(model_args={"scale": 0.2}),)))).members()
    with pytest.raises(ValueError, match="at least one experiment"):
        suite(experiments=())
    assert [m.name for m in suite().members()] == ["popularity", "dots", "wide", "tunable"]


def test_the_index_rebuilds_itself_and_the_extract_is_sorted_lines(tmp_path):
    run(toy(), 1, tmp_path)
    run(toy(name="a", split=lambda: random_split(world(), seed=1)), 0, tmp_path)
    table = index(tmp_path)
    assert table.sort("seed")["folder"].to_list() == ["a/0", "dots/1"]
    assert {"recall@5", "opened", "identity", "protocol", "seconds"} <= set(table.columns)
    run(toy(), 0, tmp_path)
    whole = index(tmp_path)
    assert len(whole) == 3
    (tmp_path / INDEX).write_text("{half")
    assert index(tmp_path).equals(whole)
    broken = tmp_path / "dots/1/result.json"
    broken.write_bytes(broken.read_bytes()[:-20])
    assert len(index(tmp_path)) == len(finished(tmp_path)) == 2
    path = extract(finished(tmp_path)[::-1], tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["experiment"], r["seed"]) for r in rows] == [(r.experiment, r.seed) for r in finished(tmp_path)]
    assert "directory" not in rows[0]


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.experiment.test_suite import suite
from mmgraph.experiment import run_suite
run_suite(suite(), {out!r})
"""


def test_two_processes_killed_give_the_table_that_one_left_alone_gives(tmp_path):
    want = numbers(run_suite(suite(), tmp_path / "a"))
    script, out = tmp_path / "work.py", tmp_path / "b"
    script.write_text(SCRIPT.format(root=str(Path(__file__).parents[2]), out=str(out)))

    def start():
        return [subprocess.Popen([sys.executable, str(script)]) for _ in range(2)]

    def reached() -> bool:
        return len(list(out.glob("*/*/identity.json"))) >= 3

    workers = start()
    while all(w.poll() is None for w in workers) and not reached():
        time.sleep(0.01)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    workers = start()
    assert [w.wait() for w in workers] == [0, 0]
    assert numbers(run_suite(suite(), out)) == want
    opened = [line["experiment"] for line in read_lines(out / JOURNAL) if line["event"] == "open"]
    assert len(opened) == len(ROWS)
    assert all(job.state == "done" for job in suite_progress(suite(), out).jobs)


def test_the_table_of_a_suite_by_its_name_holds_its_finished_runs_alone(tmp_path, monkeypatch):
    out = tmp_path / "runs"
    small = suite(experiments=(toy(baselines=(popularity(),)),), trials=0)
    results = run_suite(small, out)
    run(toy(name="stranger"), 0, out)
    assert numbers(suite_results(small, out)) == numbers(results)
    wider = suite(experiments=(toy(model_args={"embedding_dim": 6}, baselines=(popularity(),)),), trials=0)
    assert [r.experiment for r in suite_results(wider, out)] == ["popularity"]  # another identity is another run
    (tmp_path / "mine.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.experiment.test_suite import popularity, suite, toy\n\n\n"
        "def small():\n    return suite(experiments=(toy(baselines=(popularity(),)),), trials=0)\n"
    )
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["table", "mine.py:small", "--latex"])
    assert done.stdout == table(results, ("recall@5",)).latex() + "\n"
    (out / "dots" / "1" / "result.json").unlink()
    done = CliRunner().invoke(app, ["table", "mine.py:small"])
    assert "1 of 3 runs of suite small are missing" in done.stderr
    assert "no finished run of suite small" in CliRunner().invoke(app, ["table", "mine.py:small", "--out", "x"]).stderr
    assert "did you mean 'quick'" in CliRunner().invoke(app, ["table", "quik"]).stderr


def test_the_live_table_says_what_is_done_running_left_and_how_long_it_takes():
    jobs = (
        Job("popularity", 0, "trained", 1.0),
        Job("dots", 0, "trained", 30.0),
        Job("dots", 1, "running"),
        Job("wide", 0, "waiting"),
        Job("wide", 1, "failed"),
        Job("tunable", 0, "waiting"),
    )
    shown = board(suite(seconds=600), Progress("small", jobs, "tunable"))
    rows = [list(cells) for cells in zip(*(column.cells for column in shown.columns), strict=True)]
    assert [[str(cell) for cell in row] for row in rows] == [
        ["popularity", "1 of 1 (test closed)", "–", "–", "–", "–", "1 s", "–"],
        ["dots", "1 of 2 (test closed)", "1", "1", "–", "–", "30 s", "30 s"],
        ["wide", "0 of 2", "–", "1", "1", "–", "–", "16 s"],
        ["tunable", "0 of 1", "tuning", "1", "–", "3 trials, 10 min", "–", "16 s"],
    ]
    for terminal in (True, False):
        file = io.StringIO()
        with Board(suite(), Console(file=file, force_terminal=terminal, width=160)) as told:
            told(Progress("small", jobs))
            told(Progress("small", jobs))
        assert ("━" in file.getvalue()) == terminal
        assert "2 trained, 1 running, 2 waiting, 1 failed" in file.getvalue()
        if not terminal:
            assert file.getvalue().count("\n") == 1  # what did not change is not said again
