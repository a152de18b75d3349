"""The command in several processes: started together, ended together, started again after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmgraph.cli import processes
from mmgraph.cli.sources import load_experiment
from mmgraph.distributed import LostProcess
from mmgraph.experiment import run as run_one
from mmgraph.process import Launched, launched

PLACE = "import os, sys, time, signal; rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE']); "


def script(code: str) -> list[str]:
    return [sys.executable, "-c", PLACE + code]


def test_each_process_knows_its_place(tmp_path):
    code = script(f"open(os.path.join({str(tmp_path)!r}, str(rank)), 'w').write(os.environ['MMGRAPH_STORE'])")
    assert processes.start(3, 0, code, code) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    stores = {path.read_text() for path in tmp_path.iterdir()}
    assert len(stores) == 1
    assert stores.pop().startswith("file:///")


def test_a_killed_process_ends_the_others_and_all_go_on(capsys):
    waits = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); "
    typed = script(waits + "os.kill(os.getpid(), 9) if rank == 1 else time.sleep(60)")
    assert processes.start(2, 1, typed, script("sys.exit(0)")) == 0
    assert "a process was ended by SIGKILL: all 2 start again and go on (1/1)" in capsys.readouterr().err
    assert processes.start(2, 1, typed, typed) == 128 + signal.SIGKILL
    assert "ended by SIGKILL, after 1 restarts" in capsys.readouterr().err


def test_an_error_is_not_tried_again_and_is_told_even_when_a_follower_has_it(tmp_path, capsys):
    log = tmp_path / "log"
    code = f"open({str(log)!r}, 'a').write('x'); print('the reason', file=sys.stderr); sys.exit(3 if rank == 1 else 0)"
    assert processes.start(2, 5, script(code), script(code)) == 3
    assert log.read_text() == "xx"
    assert "process 1 ended with exit code 3: the reason" in capsys.readouterr().err


def test_the_command_that_goes_on_neither_overwrites_nor_says_resume_twice(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmgraph", "run", "a:b", "--overwrite", "--nproc", "2"])
    assert processes.this_process()[3:] == ["run", "a:b", "--overwrite", "--nproc", "2"]
    assert processes.this_process(going_on=True)[3:] == ["run", "a:b", "--nproc", "2", "--resume"]


def test_where_a_process_was_launched_is_read_from_its_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MMGRAPH_STORE", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    assert launched() is None
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="not by torchrun: start with `mmgraph run … --nproc P`"):
        launched()
    told = {
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "here",
        "MASTER_PORT": "29",
        "TORCHELASTIC_RUN_ID": "r",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    first = launched()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert first == Launched(1, 4, "tcp://here:29/mmgraph-r-0")
    assert launched() == Launched(1, 4, "tcp://here:29/mmgraph-r-1"), "gloo's old addresses are out of the way"


def lost(wire) -> str:
    """Process 1 leaves; the others wait for a sum that it has no part in."""
    if wire.rank == 1:
        return "left"
    wire.sum_in_place(torch.ones(1000))
    return "summed"


def test_a_process_that_lost_another_one_says_so(crew):
    with pytest.raises(AssertionError, match=LostProcess.__name__ + ": another process ended"):
        crew(lost, 2)


EXPERIMENT = '''
import os, signal
from pathlib import Path

import polars as pl
from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.models import ItemKNN, LightGCN
from mmgraph.train import FitConfig

HERE = Path(__file__).parent


def world():
    pairs = [(u, v) for u in range(20) for v in range(24) if (u + v) % 2 == 0 and (u * 7 + v * 3) % 5]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
    return random_split(Dataset.from_frames(frame, name="toy"), seed=0)


def die_once(graph, generator):
    """Kills process 1 as its third epoch begins, the first time."""
    with (HERE / f"epochs-{os.environ.get('RANK')}").open("a") as file:
        file.write("x")
    seen, marker = (HERE / f"epochs-{os.environ.get('RANK')}").stat().st_size, HERE / "died"
    if os.environ.get("RANK") == "1" and seen == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return graph


def toy():
    fit = FitConfig(epochs=5, batch_size=64, learning_rate=0.05, monitor="recall@5", checkpoint_seconds=0)
    given = dict(model_args={"embedding_dim": 8}, fit=fit, evaluate=EvalConfig(k=(5,)), epoch_transforms=(die_once,))
    knn = Experiment(name="knn", split=world, model=ItemKNN, evaluate=EvalConfig(k=(5,)))
    return Experiment(name="toy", split=world, model=LightGCN, baselines=(knn,), seeds=(0,), **given)
'''


def test_a_run_whose_process_was_killed_gives_the_result_of_one_process(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(EXPERIMENT)
    run = [sys.executable, "-m", "mmgraph", "run", "toy.py:toy"]
    both = subprocess.run(
        [*run, "--nproc", "2", "--out", "two"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert both.returncode == 0, both.stderr
    assert (tmp_path / "died").exists()
    assert "ended by SIGKILL: all 2 start again and go on (1/3)" in both.stderr
    assert both.stdout.count("toy seed 0: test") == 1
    assert (tmp_path / "epochs-0").stat().st_size < 2 * 5, "it went on from a checkpoint"
    monkeypatch.syspath_prepend(str(tmp_path))
    run_one(load_experiment(f"{tmp_path}/toy.py:toy"), 0, tmp_path / "one")
    results = [json.loads((tmp_path / out / "toy" / "0" / "result.json").read_text()) for out in ("one", "two")]
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["identity"] == results[1]["identity"]
    weights = [load_file(tmp_path / out / "toy" / "0" / "weights.safetensors") for out in ("one", "two")]
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=2e-5)
    left = {path.name for path in (Path(tmp_path) / "two" / "toy" / "0").iterdir()}
    assert not left & {"checkpoint", "checkpoint.pt"}
