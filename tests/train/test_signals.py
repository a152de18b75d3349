"""A stop is an event: what there is is written, and the resumed run equals one that was never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch

from mmgraph.graph import EdgeDrop
from mmgraph.models import LightGCN
from mmgraph.train import AdamW, Callback, Cosine, FitConfig, fit, load_checkpoint
from mmgraph.train.signals import Signals, StopAsked
from tests.worlds import checkerboard

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """A suite that runs in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Noisy(LightGCN):
    """LightGCN with dropout: it draws from torch's global stream at each batch."""

    def loss(self, graph, batch):
        kept = torch.nn.functional.dropout(self.embedding, 0.5, self.training)
        return super().loss(graph, batch) | {"noise": kept.square().mean()}


class Counter(Callback):
    """Counts steps; at a given one it calls a function. The count is its state."""

    def __init__(self, at=-1, what=lambda: None) -> None:
        self.steps, self.at, self.what = 0, at, what

    def on_step(self, step):
        self.steps += 1
        if self.steps == self.at:
            self.what()

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def run(folder=None, resume=False, counter=None, validate=None, seconds=1e6) -> tuple[Noisy, Counter, object]:
    """Six epochs of five batches: dropout, dropped edges, AdamW, a schedule by steps, a callback with a state."""
    torch.manual_seed(0)
    model, counter = Noisy(checkerboard(), embedding_dim=8, num_layers=2), counter or Counter()
    config = FitConfig(
        epochs=6,
        batch_size=64,
        optimizer=AdamW(),
        weight_decay=0.01,
        learning_rate=0.01,
        schedule=Cosine(warmup=1.5),
        checkpoint_seconds=seconds,
    )
    report = fit(
        model,
        checkerboard(),
        validate or (lambda m: {"recall@20": float(m.embedding.sum())}),
        config,
        seed=3,
        directory=folder,
        resume=resume,
        epoch_transforms=[EdgeDrop(0.3)],
        callbacks=[counter],
    )
    return model, counter, report


def same(one, other) -> None:
    """Weights, losses, metrics, rates and callbacks of two runs are equal in every bit."""
    (model, counter, report), (model_2, counter_2, report_2) = one, other
    assert torch.equal(model.embedding, model_2.embedding)
    assert counter.steps == counter_2.steps == 30
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.history] for r in (report, report_2)]
    assert rows[0] == rows[1]
    assert (report.best, report.best_epoch, report.stopped) == (report_2.best, report_2.best_epoch, report_2.stopped)


@pytest.mark.parametrize("step", [1, 12, 30])
def test_an_interrupt_writes_what_there_is_and_resuming_is_exact(tmp_path, step):
    def press():
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, counter=Counter(step, press))
    assert signal.getsignal(signal.SIGINT) is before
    saved = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (saved["epoch"], saved["batch"]) == ((step - 1) // 5, (step - 1) % 5 + 1)
    same(run(tmp_path, resume=True), run())


def test_a_stop_during_validation_does_not_wait_for_its_end(tmp_path):
    calls = []

    def slow(model):
        calls.append("begun")
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
            calls.append("ended")
        return {"recall@20": float(model.embedding.sum())}

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, validate=slow)
    assert calls == ["begun", "begun"]
    saved = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (saved["epoch"], saved["batch"]) == (1, 5)
    same(run(tmp_path, resume=True), run())


CHILD = """
    import os, signal, sys
    sys.path.insert(0, {root!r})
    from tests.train.test_signals import Counter, Path, run
    step, how, seconds = int(sys.argv[1]), getattr(signal, sys.argv[2]), float(sys.argv[3])
    run(Path(sys.argv[4]), counter=Counter(step, lambda: os.kill(os.getpid(), how)), seconds=seconds)
    print("not stopped")
"""


def child(folder: Path, step: int, how: str, seconds: float) -> subprocess.CompletedProcess:
    code = textwrap.dedent(CHILD.format(root=str(ROOT)))
    command = [sys.executable, "-c", code, str(step), how, str(seconds), str(folder)]
    return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP"])
def test_a_terminated_run_has_written_what_there_is(tmp_path, how):
    done = child(tmp_path, 8, how, 1e6)
    assert done.returncode == -getattr(signal, how)
    assert f"{how}: stopped in epoch 1 after 3 batches" in done.stderr
    assert f"{tmp_path}/checkpoint.pt holds it; fit(…, resume=True) goes on from there" in done.stderr
    same(run(tmp_path, resume=True), run())


@pytest.mark.parametrize("seconds", [0, 1e6])
def test_a_run_killed_in_the_middle_of_an_epoch_resumes_exactly(tmp_path, seconds):
    """With a checkpoint after each step, and with none at all."""
    assert child(tmp_path, 13, "SIGKILL", seconds).returncode == -signal.SIGKILL
    if seconds == 0:
        saved = load_checkpoint(tmp_path / "checkpoint.pt")
        assert (saved["epoch"], saved["batch"]) == (2, 2)
    same(run(tmp_path, resume=True), run())


def test_without_a_directory_signals_are_left_alone():
    seen = []
    run(counter=Counter(3, lambda: seen.append(signal.getsignal(signal.SIGINT))))
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_whoever_had_the_signal_may_let_training_go_on(tmp_path):
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        stopped = run(tmp_path, counter=Counter(7, lambda: signal.raise_signal(signal.SIGTERM)))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == [signal.SIGTERM]
    same(stopped, run())


def test_a_second_signal_does_not_wait():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGTERM)
            assert (calls, signals.name) == ([], "SIGTERM")
            with pytest.raises(StopAsked), signals.at_once():
                raise AssertionError("not reached: a signal waits")
            signal.raise_signal(signal.SIGTERM)
            assert calls == [signal.SIGTERM]
            assert signals.caught is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ignored_signals_stay_ignored_and_other_threads_take_none():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    active = []
    thread = threading.Thread(target=lambda: active.append(Signals().active))
    thread.start()
    thread.join()
    assert active == [False]
