"""A metric, candidates, an optimiser, a schedule and a callback of one's own, in a run that is killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import EvalConfig, Requests
from mmgraph.experiment import Experiment, run
from mmgraph.graph import EdgeDrop
from mmgraph.models import LightGCN
from mmgraph.ops import CSR
from mmgraph.train import AdamW, Callback, Cosine, FitConfig

# Of each attempt: how many events (steps, validations, epochs) it is left alone for.
MOMENTS = (1, 6, 13, 19)
EVENTS: list[int] = []  # where an event is told, in a process that may be killed


def tell() -> None:
    for pipe in EVENTS:
        os.write(pipe, b".")


# -- what one writes oneself: each part under ten lines -------------------------------------------


def first_place(ranking):
    tell()
    return ranking.hits[:, 0]


def nearby(split) -> Requests:
    videos, users = split.dataset.num_videos, torch.arange(split.dataset.num_users)
    shown = (users[:, None] + torch.arange(20)) % videos
    return Requests.per_user(CSR.from_edges(users.repeat_interleave(20), shown.flatten(), (len(users), videos)))


class Losses(Callback):
    def __init__(self) -> None:
        self.total, self.steps = 0.0, 0

    def on_step(self, step) -> None:
        self.total, self.steps = self.total + float(step.terms["bpr"]), self.steps + 1
        tell()

    def on_epoch(self, epoch) -> None:
        tell()

    def on_end(self, report) -> None:
        FINISHED.append((self.steps, self.total))

    def state_dict(self):
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state) -> None:
        self.total, self.steps = state["total"], state["steps"]


def toy_split():
    pairs = [(f"u{u}", f"v{v}") for u in range(40) for v in range(30) if (u + v) % 3 == 0 or (u * v) % 7 == 1]
    return random_split(Dataset.from_frames({"user": [u for u, _ in pairs], "video": [v for _, v in pairs]}), seed=0)


FIT = FitConfig(
    epochs=8,
    batch_size=32,
    learning_rate=0.02,
    weight_decay=1e-3,
    optimizer=AdamW(),
    schedule=Cosine(warmup=1, floor=0.1),
    monitor="first_place@5",
    checkpoint_seconds=0,
)


def experiment() -> Experiment:
    return Experiment(
        name="killed",
        split=toy_split,
        model=LightGCN,
        model_args={"embedding_dim": 8, "num_layers": 2},
        epoch_transforms=(EdgeDrop(0.2),),
        fit=FIT,
        evaluate=EvalConfig(k=(5,), metrics=(first_place,), candidates=nearby),
        callbacks=(Losses(),),
        seeds=(0,),
    )


# -- the run, left alone and killed ---------------------------------------------------------------

FINISHED: list[tuple[int, float]] = []


def attempt(out: Path, events: int | None) -> int:
    """Runs it in a child, or goes on with it, and kills that after so many events; the child's wait status."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        EVENTS.append(writer)
        run(experiment(), 0, out, resume=True)
        (out / "finished.json").write_text(json.dumps(FINISHED))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as told:
        while (events is None or events > 0) and told.read(1):
            events = events and events - 1
        if events is not None and not events:
            os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]


def main(folder: Path) -> None:
    """Prints how each attempt ended. Nothing here uses polars or a second thread, which a fork would wait for."""
    torch.set_num_threads(1)
    alone = attempt(folder / "alone", None)
    killed = [attempt(folder / "killed", events) for events in MOMENTS]
    last = attempt(folder / "killed", None)
    print(json.dumps({"alone": alone, "killed": killed, "last": last}))


def test_a_run_of_parts_of_ones_own_is_the_same_however_often_it_is_killed(tmp_path):
    for name in ("alone", "killed"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-m", "tests.experiment.test_killed", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    assert ended == {"alone": 0, "killed": [signal.SIGKILL] * len(MOMENTS), "last": 0}, done.stderr
    alone, killed = ((tmp_path / name) for name in ("alone", "killed"))
    weights = [(folder / "killed" / "0" / "weights.safetensors").read_bytes() for folder in (alone, killed)]
    assert weights[0] == weights[1]
    results = [json.loads((folder / "killed" / "0" / "result.json").read_text()) for folder in (alone, killed)]
    for part in ("valid", "test", "identity", "protocol"):
        assert results[0][part] == results[1][part]
    assert results[0]["training"] | {"seconds": 0} == results[1]["training"] | {"seconds": 0}
    rows = [
        [json.loads(line) | {"seconds": 0} for line in (folder / "killed" / "0" / "log.jsonl").read_text().splitlines()]
        for folder in (alone, killed)
    ]
    assert len(rows[0]) == 8
    assert rows[0] == rows[1]
    # the callback's own count came back with each checkpoint
    assert (alone / "finished.json").read_text() == (killed / "finished.json").read_text() != "[]"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
