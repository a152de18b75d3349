"""``mmgraph tune``, ``bench``, ``run --overwrite`` and ``recommend`` on recipes in a file."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmgraph import recipes as shipped
from mmgraph.cli import app
from mmgraph.cli.bench import summary
from mmgraph.cli.shell import UsageError
from mmgraph.cli.sources import load_experiment, load_suite
from mmgraph.cli.workers import alone, beside
from mmgraph.experiment import Job, Progress, finished
from mmgraph.recipes import suites
from tests.experiment.toys import world

RECIPES = """
import sys
sys.path.insert(0, {root!r})
from mmgraph.experiment import Experiment, Integer, Suite, Tuning
from mmgraph.models import BPRMF, Popularity
from tests.experiment.toys import Dots, toy

def bpr():
    space = {{"model_args.embedding_dim": Integer(2, 8)}}
    tuning = Tuning(space=space, startup=2)
    return toy(name="bpr", model=BPRMF, model_args={{"embedding_dim": 4}}, seeds=(0,), tuning=tuning)

def dots():
    return toy(seeds=(0,))

def limited():
    from mmgraph.evaluate import EvalConfig
    from mmgraph.recommend import Blocked, Constraint
    blocked = lambda split: Constraint(split.dataset.num_videos, blocked=Blocked(frozenset(range(0, 24, 2)), 7))
    return bpr().variant(name="limited", evaluate=EvalConfig(k=(5, 10), constraint=blocked))

def suite():
    rows = (toy(name="popularity", model=Popularity), bpr(), dots())
    return Suite(name="files", experiments=rows, trials=2, metrics=("recall@5",))
"""


@pytest.fixture
def file(tmp_path, monkeypatch) -> str:
    path = tmp_path / "recipes.py"
    path.write_text(RECIPES.format(root=str(Path(__file__).parents[2])))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "recipes", raising=False)  # of another test's folder
    return str(path)


def call(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_tune_shows_the_trials_and_its_best_runs(file):
    done = call("tune", f"{file}:bpr", "--trials", "3")
    assert done.exit_code == 0, done.output
    assert "3 trials on valid" in done.output
    best = next(Path("runs").glob("bpr/tune-*/best.py"))
    assert f"mmgraph run {best}:best" in done.output.replace("\n", "")
    ran = call("run", f"{best}:best", "--seed", "0")
    assert ran.exit_code == 0, ran.output
    assert [r.experiment for r in finished("runs")] == ["bpr-tuned"]
    told = json.loads(call("tune", f"{file}:bpr", "--trials", "3", "--json").stdout)
    assert len(told["trials"]) == 3
    assert told["best"]["changes"].keys() == {"model_args.embedding_dim"}


def test_bench_does_shows_and_goes_on(file):
    mock = call("bench", f"{file}:suite", "--mock")
    assert mock.exit_code == 0, mock.output
    assert "no test was opened" in mock.output
    part = call("bench", f"{file}:suite", "--only", "popularity")
    assert "runs are missing" in part.output
    shown = json.loads(call("bench", f"{file}:suite", "--status", "--json").stdout)
    assert {j["experiment"]: j["state"] for j in shown["jobs"]} == {
        "popularity": "trained",
        "bpr": "waiting",
        "dots": "waiting",
    }
    whole = call("bench", f"{file}:suite", "--latex", "--extract", "rows.jsonl")
    assert whole.exit_code == 0, whole.output
    assert "had been opened 3 times here" in whole.output
    assert r"\begin{tabular}" in whole.output
    assert [json.loads(line)["experiment"] for line in Path("rows.jsonl").read_text().splitlines()] == [
        "bpr-tuned",
        "dots",
        "popularity",
    ]
    table = call("bench", f"{file}:suite", "--status").output
    assert "files: 3 done" in table
    wrong = call("bench", f"{file}:bpr")
    assert wrong.exit_code == 1
    assert "returned a Experiment, not a Suite" in wrong.output


def test_settings_reach_every_row_of_a_suite(file):
    given = (f"{file}:suite", "--set", "evaluate.k=[3,5]", "--set", "seeds=[4]")
    done = call("bench", *given)
    assert done.exit_code == 0, done.output
    rows = finished("runs")
    assert sorted(r.experiment for r in rows) == ["bpr-k=_3_5_-tuned", "dots-k=_3_5_", "popularity-k=_3_5_"]
    assert {r.seed for r in rows} == {4}
    assert all("recall@3" in r.test["all"] for r in rows)
    assert "dots-k=_3_5_" in call("table", *given, "--metric", "recall@3").output
    assert "no finished run" in call("table", f"{file}:suite").output
    assert "of a suite" in call("table", "runs", "--set", "fit.epochs=1").output
    assert "names of their own" in call("bench", f"{file}:suite", "--set", "name=mine").output


def test_a_run_is_overwritten_on_demand_alone(file):
    assert call("run", f"{file}:dots", "--seed", "0").exit_code == 0
    refused = call("run", f"{file}:dots", "--seed", "0")
    assert refused.exit_code == 1
    assert "runs/dots/0 holds a finished run of the same experiment" in refused.output
    assert call("run", f"{file}:dots", "--seed", "0", "--resume").exit_code == 0
    assert call("run", f"{file}:dots", "--seed", "0", "--overwrite").exit_code == 0
    assert [r.opened for r in finished("runs")] == [2]


def test_recommending_runs_no_code_that_a_file_names(file):
    assert call("run", f"{file}:bpr", "--seed", "0").exit_code == 0
    assert call("run", f"{file}:dots", "--seed", "0").exit_code == 0
    Path(file).write_text("raise SystemExit('this was run')\n")
    found = call("recommend", "runs/bpr", "--user", "3")
    assert found.exit_code == 0, found.output
    assert "bpr, user 3" in found.output
    refused = call("recommend", "runs/dots", "--user", "3")
    assert refused.exit_code == 1
    assert "no model of mmgraph's own" in refused.output
    assert "--source MODULE:FUNCTION" in refused.output
    Path(file).write_text(RECIPES.format(root=str(Path(__file__).parents[2])))
    named = call("recommend", "runs/dots", "--user", "3", "--source", f"{file}:dots")
    assert named.exit_code == 0, named.output


def test_recommend_never_shows_what_the_experiment_blocks(file):
    for name in ("bpr", "limited"):
        assert call("run", f"{file}:{name}", "--seed", "0").exit_code == 0
    users = [part for user in world().user_ids.ids for part in ("--user", str(user))]
    lists = {}
    for name in ("bpr", "limited"):
        told = call("recommend", f"runs/{name}", *users, "-k", "24", "--json")
        assert told.exit_code == 0, told.output
        lists[name] = {(row["user"], row["video"]) for row in json.loads(told.stdout)["recommendations"]}
    blocked = set(world().video_ids.ids.to_list()[::2])
    assert any(video in blocked for _, video in lists["bpr"])
    assert lists["limited"] == {(user, video) for user, video in lists["bpr"] if video not in blocked}
    exported = call("export", "runs/limited/0", "--out", "bundle", "--no-distil")
    assert "12 videos that the run's constraint closes are open in the bundle" in exported.output


def test_further_workers_get_the_same_command_and_their_failure_is_told(monkeypatch):
    assert alone(["bench", "quick", "--workers", "3", "--mock"]) == ["bench", "quick", "--mock"]
    assert alone(["tune", "--workers=3", "a:b"]) == ["tune", "a:b"]
    monkeypatch.setattr(sys, "argv", ["mmgraph", "bench", "nowhere:suite"])
    with pytest.raises(UsageError, match="1 of 1 further workers failed") as caught, beside(1):
        pass
    assert "no module 'nowhere'" in str(caught.value)


def test_the_line_of_a_suite_says_what_is_left():
    jobs = [
        Job("a", 0, "done", 60.0, 1),
        Job("a", 1, "waiting"),
        Job("b", 0, "failed", error="x"),
        Job("b", 1, "running"),
    ]
    text = summary(Progress("s", tuple(jobs), tuning="c"))
    assert text == "s: tuning c, 1 done, 1 running, 1 waiting, 1 failed, about 2 min of training left (60 s trained)"


def recipes() -> list:
    """Every function of the recipes that returns an experiment without being told anything."""
    modules = [importlib.import_module(f"mmgraph.recipes.{m.name}") for m in pkgutil.iter_modules(shipped.__path__)]
    found = [f for m in modules for f in vars(m).values() if inspect.isfunction(f) and f.__module__ == m.__name__]
    made = [f for f in found if f.__annotations__.get("return") == "Experiment" and f.__name__[0] != "_"]
    return [f for f in made if all(p.default is not p.empty for p in inspect.signature(f).parameters.values())]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda f: f"{f.__module__.rpartition('.')[2]}:{f.__name__}")
def test_every_recipe_that_ships_can_be_made(recipe):
    made = recipe()
    assert made.arguments().keys() >= made.given().keys()
    assert load_experiment(f"{recipe.__module__}:{recipe.__name__}").resolved() == made.resolved()


def test_the_suites_that_ship_name_each_row_once():
    for name in ("quick", "tiktok", "gowalla", "cold", "sequence", "masks", "world"):
        suite = load_suite(name)
        assert suite.name == name
        assert len({m.name for m in suite.members()}) == len(suite.members()) >= 3
    assert suites.quick().trials == 6
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        load_suite("quik")
