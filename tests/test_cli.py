"""The command line, called in process; every mistake of a user is one message and no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmgraph import cli

RECIPE = """
from __future__ import annotations

import polars as pl

from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.models import ItemKNN, Popularity


def split():
    pairs = [(f"u{u}", f"v{v}", 1) for u in range(12) for v in range(16) if (u + v) % 2 == 0]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id", "weight"], orient="row")
    videos = pl.DataFrame({"video_id": [f"v{v}" for v in range(16)], "title": [f"Film {v}" for v in range(16)]})
    return random_split(Dataset.from_frames(frame, videos=videos, name="toy"), seed=0)


def knn() -> Experiment:
    base = {"split": split, "evaluate": EvalConfig(k=(5,)), "seeds": (0, 1)}
    popular = Experiment(name="popularity", model=Popularity, **base)
    return Experiment(name="knn", model=ItemKNN, baselines=(popular,), **base)


def takes(x):
    return knn()


def nothing():
    return 3


constant = 3
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    (tmp_path / "recipes_of_test_cli.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    yield tmp_path
    sys.modules.pop("recipes_of_test_cli", None)


def call(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


def test_run_gives_a_table_with_baselines_and_recommend_reads_the_run(recipe):
    done = call("run", "recipes_of_test_cli:knn", "--out", "here", "--latex")
    assert done.exit_code == 0, done.output
    assert sorted(str(p.parent.relative_to("here")) for p in Path("here").glob("*/*/result.json")) == [
        "knn/0",
        "popularity/0",
    ]
    assert "popularity" in done.output
    assert r"\toprule" in done.output
    # even users like even videos: ItemKNN is right every time
    assert json.loads(Path("here/knn/0/result.json").read_text())["test"]["all"]["recall@5"] == 1

    shown = call("recommend", "here/knn", "--user", "u3", "-k", "2", "--why")
    assert shown.exit_code == 0, shown.output
    lines = [line for line in shown.output.splitlines() if "Film" in line and "│" in line]
    assert len(lines) == 2
    assert all(int(line.split("Film ")[1].split()[0]) % 2 == 1 for line in lines)  # u3 likes odd videos
    assert "watched this too" in shown.output

    unknown = call("recommend", "here/knn/0", "--user", "u33")
    assert unknown.exit_code == 1
    assert "unknown user 'u33'" in unknown.output
    assert "u3" in unknown.output


def test_run_one_seed_from_a_file_and_resume(recipe):
    arguments = ["run", "recipes_of_test_cli.py:knn", "--seed", "1"]
    assert call(*arguments).exit_code == 0
    path = Path("runs/knn/1/result.json")
    stamp = path.stat().st_mtime_ns
    assert call(*arguments, "--resume").exit_code == 0
    assert path.stat().st_mtime_ns == stamp
    assert not Path("runs/popularity").exists()
    assert json.loads(path.read_text())["source"] == "recipes_of_test_cli.py:knn"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("recipes_of_test_cli:kn", "did you mean 'knn'"),
        ("recipes_of_test_cli", "is not MODULE:FUNCTION"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("no/file.py:f", "no file no/file.py"),
        ("recipes_of_test_cli:takes", "needs arguments ['x']"),
        ("recipes_of_test_cli:nothing", "returned a int, not an Experiment"),
        ("recipes_of_test_cli:constant", "is a int, not a function"),
        ("broken.py:f", "broken.py, line 1"),
        ("lacks:f", "lacks needs the package 'no_such_package'"),
    ],
)
def test_a_wrong_source_is_explained(recipe, source, says):
    Path("broken.py").write_text("def f(:\n")
    Path("lacks.py").write_text("import no_such_package\n")
    done = call("run", source)
    assert done.exit_code == 1
    assert says in done.output
    assert "Traceback" not in done.output
    sys.modules.pop("lacks", None)


def test_load_experiment_returns_the_experiment(recipe):
    assert cli.load_experiment("recipes_of_test_cli:knn").name == "knn"
    with pytest.raises(cli.UsageError):
        cli.load_experiment("nothing")


def test_errors_for_people_hides_the_traceback_unless_asked(monkeypatch, capsys):
    import typer

    with pytest.raises(typer.Exit), cli.errors_for_people():
        raise KeyError("the message, not its repr")
    assert capsys.readouterr().err.startswith("error: the message, not its repr\n")
    monkeypatch.setitem(cli._options, "traceback", True)
    with pytest.raises(KeyError), cli.errors_for_people():
        raise KeyError("x")
    with pytest.raises(ZeroDivisionError), cli.errors_for_people():  # a fault of the library keeps its traceback
        _ = 1 / 0


def test_folders_that_are_not_there(recipe):
    for arguments in (["recommend", "nowhere", "--user", "1"], ["inspect", "nowhere"], ["encode", "nowhere"]):
        done = call(*arguments)
        assert done.exit_code == 1
        assert "nowhere" in done.output
    Path("empty").mkdir()
    assert "no result.json in empty" in call("recommend", "empty", "--user", "1").output


def test_demo_passes_its_folder_on(monkeypatch, tmp_path):
    import mmgraph.demo

    called = []
    monkeypatch.setattr(mmgraph.demo, "run_demo", lambda out, echo: called.append(out))
    assert call("demo", "--out", str(tmp_path / "d")).exit_code == 0
    assert called == [tmp_path / "d"]


def test_encode_passes_its_options_on(monkeypatch, tmp_path):
    import mmgraph.encoders

    called = {}

    class Summary:
        def text(self):
            return "42 pictures"

    monkeypatch.setattr(mmgraph.encoders, "encode_folder", lambda data, **o: called.update(o, data=data) or Summary())
    done = call("encode", str(tmp_path), "--text", "hash", "--image", "efficientnet-lite0")
    assert done.exit_code == 0, done.output
    assert "42 pictures" in done.output
    assert (called["data"], called["text"], called["image"], called["audio"]) == (
        tmp_path,
        "hash",
        "efficientnet-lite0",
        None,
    )


def test_help_lists_every_command_and_main_takes_traceback():
    shown = call("--help").output
    for name in (cli.demo, cli.run, cli.recommend, cli.inspect, cli.encode):
        assert name.__name__ in shown
    assert "--traceback" in shown
    assert cli.main.__doc__


def test_the_installed_command_runs():
    done = subprocess.run(
        [sys.executable, "-m", "mmgraph.cli", "run", "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: 'nothing' is not MODULE:FUNCTION")


def test_inspect_reports_and_explains_an_unknown_folder(tmp_path):
    (tmp_path / "interactions.csv").write_text("user_id,video_id\nann,1\nann,2\nbob,1\n")
    shown = call("inspect", str(tmp_path / "interactions.csv"))
    assert shown.exit_code == 0, shown.output
    assert "interactions   3" in shown.output
    (tmp_path / "empty").mkdir()
    refused = call("inspect", str(tmp_path / "empty"))
    assert refused.exit_code == 1
    assert "no known layout" in refused.output


def test_inspect_tells_all_that_is_wrong_with_a_folder(tmp_path):
    (tmp_path / "videos.csv").write_text("video_id\nv1\nv2\n")
    (tmp_path / "interactions.csv").write_text("user_id,video_id,timestamp\nann,v1,5\nann,v9,6\nbob,v2,soon\n")
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features/visual.npy", np.ones((3, 4)))
    refused = call("inspect", str(tmp_path))
    assert refused.exit_code == 1
    lines = refused.output.splitlines()
    log = tmp_path / "interactions.csv"
    assert lines[0].startswith(f"error: {log}, line 3, column 'video_id': unknown id 'v9'")
    assert lines[1].startswith(f"error: {log}, line 4, column 'timestamp': time 'soon' is missing or not a time")
    assert lines[2].startswith(f"error: {tmp_path}/features/visual.npy: shape (3, 4) for 2 videos")
    assert all("Fix: " in line for line in lines[:3])
    assert lines[3:] == ["3 problems", "(mmgraph --traceback … shows where)"]


def test_a_file_finds_its_neighbours_from_anywhere(recipe, monkeypatch):
    folder = recipe / "elsewhere"
    folder.mkdir()
    (folder / "neighbour_of_test_cli.py").write_text("from recipes_of_test_cli import knn as original\n")
    (folder / "variant_of_test_cli.py").write_text(
        "from neighbour_of_test_cli import original\n\n\n"
        "def renamed():\n    return original().variant(name='renamed')\n"
    )
    assert cli.load_experiment("elsewhere/variant_of_test_cli.py:renamed").name == "renamed"
    sys.modules.pop("neighbour_of_test_cli", None)
