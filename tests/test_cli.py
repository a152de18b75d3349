"""The command line, called in process; every mistake of a user is one message and no traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import mmgraph
from mmgraph.cli import app, shell
from mmgraph.cli.app import COMMANDS, main
from mmgraph.cli.run import changed
from mmgraph.cli.shell import Stopped, UsageError, errors_for_people, message_of, this_command
from mmgraph.cli.sources import load_experiment
from mmgraph.cli.text import one_line, plain

ROOT = Path(__file__).parents[1]
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
def recipe(tmp_path, monkeypatch) -> Iterator[Path]:
    (tmp_path / "recipes_of_test_cli.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    yield tmp_path
    sys.modules.pop("recipes_of_test_cli", None)


def call(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


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


def test_new_videos_and_users_of_whom_nothing_is_known_are_told(recipe):
    cold = RECIPE.replace("random_split", "cold_video_split").replace(
        "frame, videos=videos", 'frame, users={"user_id": [f"u{u}" for u in range(13)]}, videos=videos'
    )
    Path("cold_of_test_cli.py").write_text(cold)
    done = call("run", "cold_of_test_cli.py:knn", "--out", "here")
    assert done.exit_code == 0, done.output
    assert "new_share@5" in done.output
    assert "new_shown@5" in done.output
    shown = call("recommend", "here/knn", "--user", "u12", "-k", "2")
    assert "this is the popular list" in shown.output
    assert "this is the popular list" not in call("recommend", "here/knn", "--user", "u3", "-k", "2").output


def test_cut_offs_that_reach_every_video_are_not_printed(recipe):
    done = call(
        "run", "recipes_of_test_cli:knn", "--out", "here", "--set", "evaluate.k=[3, 16, 20]", "--set", "name=few"
    )
    assert done.exit_code == 0, done.output
    assert "recall@3" in done.output
    assert "recall@20" not in done.output
    none = call("run", "recipes_of_test_cli:knn", "--out", "there", "--set", "evaluate.k=[16]", "--set", "name=none")
    assert none.exit_code == 0, none.output
    assert "give a smaller evaluate.k" in none.output


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
    assert load_experiment("recipes_of_test_cli:knn").name == "knn"
    with pytest.raises(UsageError):
        load_experiment("nothing")


def test_errors_for_people_hides_the_traceback_unless_asked(monkeypatch, capsys):
    with pytest.raises(typer.Exit), errors_for_people():
        raise KeyError("the message, not its repr")
    assert capsys.readouterr().err.startswith("error: the message, not its repr\n")
    with pytest.raises(typer.Exit) as left, errors_for_people():
        _ = 1 / 0
    said = capsys.readouterr().err
    assert left.value.exit_code == shell.FAULT
    assert "a fault in mmgraph, or in code of yours" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "--traceback" in said
    monkeypatch.setitem(shell._options, "traceback", True)
    with pytest.raises(KeyError), errors_for_people():
        raise KeyError("x")


def test_an_error_of_few_words_is_still_a_message():
    assert message_of(KeyError("x")) == "no such key: 'x'"
    assert message_of(KeyError("two words")) == "two words"
    assert message_of(MemoryError()) == "not enough memory"
    assert message_of(ValueError()) == "ValueError"


def test_a_stop_names_the_command_that_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mmgraph", "run", "a file.py:f", "--seed", "1"])
    again = "mmgraph run 'a file.py:f' --seed 1 --resume"
    assert this_command("--resume") == again
    handler = signal.getsignal(signal.SIGTERM)
    for number, says in ((signal.SIGTERM, "stopped by SIGTERM"), (signal.SIGHUP, "stopped by SIGHUP")):
        with pytest.raises(typer.Exit) as left, errors_for_people(lambda: f"to go on: {this_command('--resume')}"):
            signal.raise_signal(number)
        assert left.value.exit_code == 128 + number
        assert capsys.readouterr().err == f"{says}; to go on: {again}\n"
    assert signal.getsignal(signal.SIGTERM) is handler, "outside a command signals do what they did"
    with pytest.raises(typer.Exit) as left, errors_for_people():
        raise KeyboardInterrupt
    assert (left.value.exit_code, capsys.readouterr().err) == (130, "stopped\n")
    monkeypatch.setattr(sys, "argv", ["mmgraph", "run", "x:f", "--resume"])
    assert this_command("--resume") == "mmgraph run x:f --resume"


def test_work_that_saves_on_an_interrupt_saves_on_sigterm_too():
    saved = []

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as stop:
            saved.append(stop)
            raise

    with pytest.raises(typer.Exit), errors_for_people():
        work()
    assert isinstance(saved[0], Stopped)
    assert saved[0].number == signal.SIGTERM


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with errors_for_people():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_plain_text_steers_no_terminal():
    nasty = "a\x1b[31mred\x07 \u202egnp.exe \x9b2J \ud800 [/] [bold]b\n\tc 视频 😀"
    shown = plain(nasty)
    assert shown == r"a\x1b[31mred\x07 \u202egnp.exe \x9b2J \ud800 [/] [bold]b" + "\n\tc 视频 😀"
    assert one_line("a\n b\tc") == "a b c"


def test_titles_are_text_and_never_reach_the_terminal_raw(recipe):
    Path("odd_titles.py").write_text(
        RECIPE.replace('[f"Film {v}" for v in range(16)]', '["[/]\\x1b[2J[red]\\n|" + str(v) for v in range(16)]')
    )
    assert call("run", "odd_titles.py:knn", "--seed", "0", "--out", "odd").exit_code == 0
    for arguments in ((), ("--why",), ("--json", "--why")):
        shown = call("recommend", "odd/knn/0", "--user", "u3", "-k", "2", *arguments)
        assert shown.exit_code == 0, shown.output
        assert "\x1b" not in shown.output
        assert "[/]" in shown.output


def test_json_of_every_result(recipe):
    done = call("run", "recipes_of_test_cli:knn", "--out", "here", "--json")
    found = json.loads(done.stdout)["results"]
    assert [(r["experiment"], r["seed"]) for r in found] == [("popularity", 0), ("knn", 0)]
    assert found[1]["test"]["all"]["recall@5"] == 1
    assert found[1]["directory"] == "here/knn/0"
    assert "recall@5 1.0000" in done.stderr, "people are told on the other stream"
    shown = json.loads(call("recommend", "here/knn", "--user", "u3", "--user", "u4", "-k", "2", "--json").stdout)
    assert [(row["user"], row["rank"]) for row in shown["recommendations"]] == [
        ("u3", 1),
        ("u3", 2),
        ("u4", 1),
        ("u4", 2),
    ]
    Path("interactions.csv").write_text("user_id,video_id\nann,1\nann,2\nbob,1\n")
    assert json.loads(call("inspect", "interactions.csv", "--json").stdout)["interactions"] == 3


def test_set_changes_the_experiment_and_names_it_after_the_change(recipe):
    plain_one = load_experiment("recipes_of_test_cli:knn")
    new = changed(plain_one, ["model_args.k=3", "model_args.shrink=.5e1", "evaluate.k=[5, 10]", "seeds=[0]"])
    assert (new.model_args, new.evaluate.k, new.seeds) == ({"k": 3, "shrink": 5.0}, (5, 10), (0,))
    assert new.name == "knn-k=3-shrink=5.0-k=_5_10_"
    assert new.baselines[0].evaluate.k == (5, 10), "one table needs one measure"
    assert changed(plain_one, ["name=other"]).name == "other"
    assert changed(plain_one, []) is plain_one
    done = call("run", "recipes_of_test_cli:knn", "--set", "model_args.k=2", "--seed", "0")
    assert done.exit_code == 0, done.output
    assert json.loads(Path("runs/knn-k=2/0/result.json").read_text())["config"]["model_args"]["k"] == 2


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("model_args.kk=3", "ItemKNN has no argument 'kk'; did you mean 'k'?"),
        ("fit.lr=1", "FitConfig has no setting 'lr'; did you mean 'learning_rate'?"),
        ("fi.learning_rate=1", "Experiment has no field 'fi'"),
        ("model_args.k", "write FIELD=VALUE"),
        ("fit.epochs=-1", "epochs"),
    ],
)
def test_a_wrong_setting_is_explained(recipe, setting, says):
    done = call("run", "recipes_of_test_cli:knn", "--set", setting)
    assert done.exit_code == 1
    assert says in done.output
    assert "Traceback" not in done.output


def test_recipes_come_with_the_package(tmp_path):
    code = "import os, mmgraph.recipes.tiktok as t, benchmarks.recipes.tiktok as old; print(t.lightgcn().name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "tiktok-lightgcn\n"
    env = {k: v for k, v in os.environ.items() if k != "MMGRAPH_DATA"}
    command = [sys.executable, "-m", "mmgraph.cli", "run", "mmgraph.recipes.tiktok:lightgcn"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert done.stderr.startswith("error: set MMGRAPH_DATA to the folder that holds tiktok/")


def test_folders_that_are_not_there(recipe):
    for arguments in (["recommend", "nowhere", "--user", "1"], ["inspect", "nowhere"], ["encode", "nowhere"]):
        done = call(*arguments)
        assert done.exit_code == 1
        assert "nowhere" in done.output
    Path("empty").mkdir()
    assert "no result.json in empty" in call("recommend", "empty", "--user", "1").output


def test_demo_passes_its_folder_on(monkeypatch, tmp_path):
    import mmgraph.demo
    from mmgraph.demo import DemoResult

    called = []

    def fake(out, echo):
        echo("making a world")
        called.append(out)
        return DemoResult(out / "report.html", out / "data", out / "runs", {"m": {"all": float("nan")}}, {}, {})

    monkeypatch.setattr(mmgraph.demo, "run_demo", fake)
    assert "making a world" in call("demo", "--out", str(tmp_path / "d")).stdout
    shown = call("demo", "--out", str(tmp_path / "d"), "--json")
    assert json.loads(shown.stdout)["metrics"] == {"m": {"all": None}}
    assert "making a world" in shown.stderr
    assert called == [tmp_path / "d"] * 2
    served = []
    monkeypatch.setattr(mmgraph.demo, "serve_demo", lambda out, port, echo: served.append((out, port)))
    call("demo", "--out", str(tmp_path / "d"), "--serve", "--port", "0")
    assert served == [(tmp_path / "d", 0)]


def test_report_makes_the_page_of_anybodys_run(recipe):
    assert call("run", "recipes_of_test_cli:knn", "--out", "here").exit_code == 0
    shown = call("report", "here/knn", "--user", "u3", "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout) == {"report": "here/knn/0/report.html", "experiments": ["knn", "popularity"]}
    page = Path("here/knn/0/report.html").read_text()
    assert "User u3" in page
    assert "Film" in page
    assert re.search(r'<tr class="model"><th scope="row">knn<small>ItemKNN', page)
    assert re.search(r'<tr class="baseline"><th scope="row">popularity', page)
    assert call("report", "here/knn", "--no-model", "--out", "brief.html").exit_code == 0
    assert "User u" not in Path("brief.html").read_text()
    unknown = call("report", "here/knn", "--user", "u99")
    assert unknown.exit_code == 1
    assert "unknown user 'u99'" in unknown.output


def test_run_again_says_how_to_go_on_or_start_over(recipe):
    arguments = ["run", "recipes_of_test_cli:knn", "--seed", "1", "--out", "here"]
    assert call(*arguments).exit_code == 0
    again = call(*arguments)
    assert again.exit_code == 1
    assert "--resume" in again.output
    assert call(*arguments, "--overwrite").exit_code == 0


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


def test_help_lists_every_command_with_a_word_about_it():
    shown = call("--help").output
    assert {command.__name__ for command in COMMANDS} >= {"demo", "run", "recommend", "inspect", "encode"}
    for command in COMMANDS:
        assert re.search(rf"│ {command.__name__} +[A-Z]\w+", shown), f"{command.__name__} is listed with what it does"
    assert "--traceback" in shown
    assert main.__doc__


def test_version_needs_no_command():
    shown = call("--version")
    assert shown.exit_code == 0
    assert shown.output.startswith(f"mmgraph {mmgraph.__version__} (torch ")


def test_a_shell_can_be_taught_to_complete(monkeypatch):
    monkeypatch.setenv("_MMGRAPH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "mmgraph re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "recommend" in CliRunner().invoke(app, [], prog_name="mmgraph").output.split()


def test_the_installed_command_runs():
    done = subprocess.run(
        [sys.executable, "-m", "mmgraph", "run", "nothing"], capture_output=True, text=True, check=False
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
    assert lines[1].startswith(f"error: {log}, line 4, column 'timestamp': time 'soon' is not a time")
    assert lines[2].startswith(f"error: {tmp_path}/features/visual.npy: shape (3, 4) for 2 videos")
    assert all("Fix: " in line for line in lines[:3])
    assert lines[3:] == ["3 problems", "(mmgraph --traceback … shows where)"]


def test_a_recipe_draws_the_same_weights_whoever_reads_it(recipe):
    source = "from mmgraph.models import BPRMF\nfrom mmgraph.nn import NCFHead\nfrom recipes_of_test_cli import knn\n\n"
    source += "def headed():\n    args = {'head': NCFHead(8)}\n"
    source += "    return knn().variant({'fit.monitor': 'recall@5'}, name='headed', model=BPRMF, model_args=args)\n"
    (recipe / "headed_of_test_cli.py").write_text(source)
    heads = []
    for seed in range(2):
        torch.manual_seed(seed)
        heads.append(load_experiment("headed_of_test_cli.py:headed").model_args["head"].state_dict())
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


def test_a_file_finds_its_neighbours_from_anywhere(recipe, monkeypatch):
    folder = recipe / "elsewhere"
    folder.mkdir()
    (folder / "neighbour_of_test_cli.py").write_text("from recipes_of_test_cli import knn as original\n")
    (folder / "variant_of_test_cli.py").write_text(
        "from neighbour_of_test_cli import original\n\n\n"
        "def renamed():\n    return original().variant(name='renamed')\n"
    )
    assert load_experiment("elsewhere/variant_of_test_cli.py:renamed").name == "renamed"
    sys.modules.pop("neighbour_of_test_cli", None)
