"""A tuning comes out the same whoever did the work and however often it was killed; the test stays closed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmgraph.data.files import DamagedFile, FileLock, read_json
from mmgraph.experiment import Choice, Experiment, Integer, Search, Trial, Tuning, Uniform, openings, run, tune
from mmgraph.experiment.pruning import Prune
from mmgraph.experiment.study import DEATHS, Study
from mmgraph.graph import EdgeDrop
from mmgraph.train import Pruned
from tests.experiment.toys import toy, toy_split

SPACE = {
    "fit.learning_rate": Uniform(1e-4, 0.5, log=True),
    "model_args.embedding_dim": Integer(2, 8),
    "epoch_transforms": Choice((), (EdgeDrop(0.1),), (EdgeDrop(0.5),)),
}


def tunable(**rules) -> Experiment:
    return toy(tuning=Tuning(space=SPACE, **{"startup": 4, "batch": 2, "warm_up": 0} | rules))


def told(search: Search) -> list[tuple]:
    return [(str(t.changes), t.valid, t.pruned, t.error) for t in search.trials]


def test_ranges_hold_what_they_say():
    assert 0.5 in SPACE["fit.learning_rate"]
    assert 0.6 not in SPACE["fit.learning_rate"]
    assert Uniform(0, 1).from_parameter(0.123456789) == 0.123457
    assert Uniform(0.1234561, 1).from_parameter(0.1234561) == 0.1234561  # rounding never leaves the range
    assert 3 in SPACE["model_args.embedding_dim"]
    assert 3.5 not in Integer(1, 8)
    assert True not in Integer(0, 8)
    assert (EdgeDrop(0.5),) in SPACE["epoch_transforms"]
    assert Choice("a", None).to_parameter(None) == 1
    for bad in (lambda: Uniform(1, 1), lambda: Uniform(0, 1, log=True), lambda: Integer(0, 2.5), lambda: Choice(1)):
        with pytest.raises(ValueError, match=r"range|ends|Choice"):
            bad()
    with pytest.raises(ValueError, match=r"needs Uniform, Integer or Choice, got \[1, 2\]"):
        Tuning(space={"fit.epochs": [1, 2]})
    with pytest.raises(ValueError, match="no 'learning_rat'"):
        toy(tuning=Tuning(space={"fit.learning_rat": Uniform(0, 1)}))
    assert toy().setting("model_args.scale") == 0.1
    assert toy().setting("fit.epochs") == 3
    with pytest.raises(ValueError, match="no field 'fitt'"):
        toy().setting("fitt.epochs")


def test_the_recipe_comes_first_every_trial_is_kept_and_the_test_stays_closed(tmp_path):
    split = toy_split()
    found = tune(tunable(), 9, out=tmp_path, split=split)
    assert len(found.trials) == 9
    first = found.trials[0]
    assert first.changes == {"fit.learning_rate": 0.05, "model_args.embedding_dim": 4, "epoch_transforms": ()}
    assert len({str(t.changes) for t in found.trials}) == 9
    assert found.best.valid["recall@5"] == max(t.valid["recall@5"] for t in found.trials)
    assert found.experiment.name == "dots-tuned"
    assert found.experiment.fit.learning_rate == found.best.changes["fit.learning_rate"]
    assert split.openings == ()
    assert openings(tmp_path, split) == []
    assert read_json(found.directory / "best.json")["trials"] == 9
    assert not list(found.directory.glob("workers/*"))
    assert not list(found.directory.glob("trials/*/checkpoint.pt"))
    assert {t.changes["model_args.embedding_dim"] for t in found.trials} <= set(range(2, 9))
    result = run(found.experiment, 0, tmp_path, split=split)
    assert result.training["monitor"] == found.best.valid["recall@5"]


def test_a_study_goes_on_where_it_was_and_more_trials_only_add(tmp_path):
    whole = tune(tunable(), 8, out=tmp_path / "a")
    part = tune(tunable(), 3, out=tmp_path / "b")
    stamps = {p: p.stat().st_mtime_ns for p in part.directory.glob("trials/*/trial.json")}
    more = tune(tunable(), 8, out=tmp_path / "b")
    assert told(more) == told(whole)
    assert told(more)[:3] == told(part)
    assert len(stamps) == 3
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items())
    assert told(tune(tunable(), 8, out=tmp_path / "a")) == told(whole)
    other = tune(tunable(), 3, seed=1, out=tmp_path / "a")
    assert other.directory != whole.directory
    assert told(other)[1:] != told(whole)[1:3]


def test_a_budget_of_seconds_ends_it(tmp_path):
    found = tune(tunable(), 50, 1e-9, out=tmp_path)
    assert len(found.trials) == 1


def test_a_trial_that_falls_behind_is_ended_and_one_that_diverges_is_a_finding(tmp_path):
    wild = toy(
        tuning=Tuning(space={"model_args.scale": Choice(0.1, 1e30, 0.2, 0.3, 0.05)}, startup=5, batch=3, warm_up=1),
        fit=toy().fit.model_copy(update={"epochs": 6}),
    )
    found = tune(wild, 11, out=tmp_path)
    diverged = [t for t in found.trials if t.error]
    assert diverged
    assert {t.changes["model_args.scale"] for t in diverged} == {1e30}
    ended = [t for t in found.trials if t.pruned]
    assert ended
    assert all(t.epochs < 6 for t in ended)
    assert not any(t.pruned for t in found.trials[:5])
    best = [t for t in found.trials if t.valid and not t.pruned]
    assert found.best in best
    unpruned = wild.variant(tuning=wild.tuning.model_copy(update={"prune_below": None}))
    assert not any(t.pruned for t in tune(unpruned, 8, out=tmp_path).trials)


def test_a_trial_is_pruned_against_two_rivals_and_not_against_one():
    def epoch(value):
        return SimpleNamespace(report=SimpleNamespace(history=[{"epoch": 3, "r": value}]), monitor="r")

    better, worse = ((3, 0.4),), ((3, 0.2),)
    Prune([better], 0.5, 3).on_epoch(epoch(0.1))
    Prune([better, worse], 0.5, 3).on_epoch(epoch(0.31))
    Prune([better, worse], 0.5, 4).on_epoch(epoch(0.1))  # not yet
    with pytest.raises(Pruned, match="below"):
        Prune([better, worse], 0.5, 3).on_epoch(epoch(0.29))


def test_a_torn_line_is_cut_and_a_dead_workers_trial_done_again_once(tmp_path):
    want = tune(tunable(), 4, out=tmp_path / "a")
    dead = Study(tunable(), toy_split(), 0, tmp_path / "b")
    taken = dead.claim(4, None)  # and then its process is gone: its lease is free
    with (dead.directory / "journal.jsonl").open("ab") as file:
        file.write(b'{"op_code": 5, "worker_id": "x", "tri')
    alive = Study(tunable(), toy_split(), 0, tmp_path / "b")
    with alive.lease:
        beside = alive.claim(4, None)
        assert not isinstance(beside, str)
        assert beside.slot == 0  # the dead one's
        third = Study(tunable(), toy_split(), 0, tmp_path / "b")
        with third.lease:
            assert third.claim(4, None).slot == 1
            assert [a.state for a in third.attempts()] == ["dead", "running", "running"]
    found = tune(tunable(), 4, out=tmp_path / "b")
    assert told(found) == told(want)
    assert taken.slot == 0
    study = Study(tunable(), toy_split(), 0, tmp_path / "b")
    assert sorted(a.slot for a in study.attempts() if a.state == "done") == [0, 1, 2, 3]
    assert [a for a in study.attempts() if a.state == "running"] == []


def test_a_setting_that_kills_its_workers_is_given_up(tmp_path):
    for _ in range(DEATHS):
        Study(tunable(), toy_split(), 0, tmp_path).claim(3, None)
    found = tune(tunable(), 3, out=tmp_path)
    assert [bool(t.error) for t in found.trials] == [True, False, False]
    assert f"died {DEATHS} times" in found.trials[0].error
    assert isinstance(found.best, Trial)


def test_what_cannot_be_tuned_says_why(tmp_path):
    with pytest.raises(ValueError, match="dots has no space to tune"):
        tune(toy(), 3, out=tmp_path)
    with pytest.raises(ValueError, match=r"'fit.learning_rate': 0.05} lie outside the space"):
        tune(toy(tuning=Tuning(space={"fit.learning_rate": Uniform(0.1, 1)})), 3, out=tmp_path)
    with pytest.raises(ValueError, match="at least one trial"):
        tune(tunable(), 0, out=tmp_path)
    study = Study(tunable(), toy_split(), 0, tmp_path)
    (study.directory / "journal.jsonl").write_text("no json\n{}\n")
    with pytest.raises(DamagedFile, match=r"journal\.jsonl"):
        tune(tunable(), 3, out=tmp_path)


RECIPE = """
import sys
sys.path.insert(0, {root!r})
from tests.experiment.test_tuning import tunable
from mmgraph.experiment import tune

def recipe():
    return tunable()

if __name__ == "__main__":
    tune(recipe(), 8, out={out!r}, source=__file__ + ":recipe")
"""


def test_two_workers_killed_again_and_again_find_what_one_left_alone_finds(tmp_path):
    want = tune(tunable(), 8, out=tmp_path / "a")
    script = tmp_path / "recipes.py"
    script.write_text(RECIPE.format(root=str(Path(__file__).parents[2]), out=str(tmp_path / "b")))
    journal = tmp_path / "b/dots" / want.directory.name / "journal.jsonl"

    def start():
        return [subprocess.Popen([sys.executable, str(script)]) for _ in range(2)]

    for lines in (24,):  # kill both as soon as the journal has got so far
        workers = start()
        while all(w.poll() is None for w in workers) and not (
            journal.exists() and journal.read_bytes().count(b"\n") >= lines
        ):
            time.sleep(0.01)
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
    workers = start()
    assert [w.wait() for w in workers] == [0, 0]
    study = Study(tunable(), toy_split(), 0, tmp_path / "b")
    attempts = study.attempts()
    assert sorted(a.slot for a in attempts if a.state == "done") == list(range(8))  # none lost, none doubled
    assert all(a.state != "running" for a in attempts)
    found = tune(tunable(), 8, out=tmp_path / "b")
    assert told(found) == told(want)
    spec = importlib.util.spec_from_file_location("best", study.directory / "best.py")
    sys.modules.pop("recipes", None)  # of another test's folder
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.best().identity(0).id == want.experiment.identity(0).id
    assert module.best().name == "dots-tuned"
    lock = FileLock(tmp_path / "l")
    with lock:
        assert not FileLock(tmp_path / "l").acquire(wait=False)
    assert FileLock(tmp_path / "l").acquire(wait=False)
