"""The training loop: stopping, resuming to the bit, refusing what is not a number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from mmgraph.graph import EdgeDrop
from mmgraph.models import BPRMF, EASE, LightGCN
from mmgraph.train import FitConfig, FitReport, fit, load_checkpoint, save_checkpoint
from tests.worlds import checkerboard, twelve_nodes

ROOT = Path(__file__).parents[2]


def lightgcn(seed: int = 0) -> LightGCN:
    torch.manual_seed(seed)
    return LightGCN(checkerboard(), embedding_dim=8, num_layers=2)


def test_the_best_epoch_remains_and_training_stops_after_patience():
    scores = iter([0.1, 0.5, 0.4, 0.4, 0.3, 0.9])
    states = []

    def validate(model):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"recall@20": next(scores)}

    model = lightgcn()
    report = fit(model, checkerboard(), validate, FitConfig(epochs=50, patience=3, batch_size=64))
    assert isinstance(report, FitReport)
    assert report.seconds == sum(row["seconds"] for row in report.history) > 0
    assert report.best_epoch == 1
    assert report.best == {"recall@20": 0.5}
    assert len(report.history) == 5
    assert "did not rise" in report.stopped
    assert torch.equal(model.embedding, states[1]["embedding"])


def test_validation_every_other_epoch_counts_patience_in_validations():
    calls = []

    def validate(model):
        calls.append(1)
        return {"recall@20": -len(calls)}

    report = fit(lightgcn(), checkerboard(), validate, FitConfig(epochs=50, patience=2, eval_every=2, batch_size=64))
    assert len(calls) == 3
    assert len(report.history) == 6


def test_the_log_has_a_row_an_epoch(tmp_path):
    fit(lightgcn(), checkerboard(), config=FitConfig(epochs=3, batch_size=64), directory=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [0, 1, 2]
    assert rows[2]["loss/bpr"] < rows[0]["loss/bpr"]


def run_to(epochs: int, folder: Path | None = None, resume: bool = False, seed: int = 5) -> LightGCN:
    model = lightgcn()
    fit(
        model,
        checkerboard(),
        config=FitConfig(epochs=epochs, batch_size=64, checkpoint_seconds=0),
        seed=seed,
        directory=folder,
        resume=resume,
        epoch_transforms=[EdgeDrop(0.3)],
    )
    return model


def test_resume_continues_to_the_bit(tmp_path):
    whole = run_to(8)
    run_to(3, tmp_path)
    assert torch.equal(run_to(8, tmp_path, resume=True).embedding, whole.embedding)


def test_resume_continues_to_the_bit_after_kill_9_in_the_middle_of_an_epoch(tmp_path):
    """A child kills itself with SIGKILL inside the fifth epoch; the parent resumes and equals a run without a kill."""
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from mmgraph.models import LightGCN
        from tests.train.test_fit import Path, run_to
        loss, calls = LightGCN.loss, []
        def deadly(self, graph, batch):
            calls.append(1)
            if len(calls) == 4 * 5 + 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return loss(self, graph, batch)
        LightGCN.loss = deadly
        run_to(8, Path({str(tmp_path)!r}))
    """
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert child.returncode == -signal.SIGKILL
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) in (4, 5)
    resumed = run_to(8, tmp_path, resume=True)
    assert torch.equal(resumed.embedding, run_to(8).embedding)
    assert [json.loads(line)["epoch"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == list(range(8))


class Noisy(LightGCN):
    """LightGCN with dropout: it draws from torch's global stream at each batch."""

    def loss(self, graph, batch):
        kept = torch.nn.functional.dropout(self.embedding, 0.5, self.training)
        return super().loss(graph, batch) | {"noise": kept.square().mean()}


def test_resume_continues_to_the_bit_with_dropout(tmp_path):
    def to(epochs, folder=None):
        torch.manual_seed(0)
        model = Noisy(checkerboard(), embedding_dim=8, num_layers=2)
        config = FitConfig(epochs=epochs, batch_size=64, checkpoint_seconds=0)
        fit(model, checkerboard(), config=config, seed=2, directory=folder, resume=folder is not None)
        return model.embedding

    whole = to(5)
    to(2, tmp_path)
    torch.rand(7)  # wherever the global stream stands
    assert torch.equal(to(5, tmp_path), whole)


def test_resume_refuses_a_checkpoint_of_another_seed(tmp_path):
    run_to(2, tmp_path)
    with pytest.raises(ValueError, match="another seed, configuration or model"):
        run_to(4, tmp_path, resume=True, seed=6)


def test_nan_stops_with_the_batch_named(tmp_path):
    model = lightgcn()
    loss = model.loss
    calls = []

    def broken(graph, batch):
        calls.append(1)
        terms = loss(graph, batch)
        return terms | {"bpr": terms["bpr"] * float("nan")} if len(calls) == 7 else terms

    model.loss = broken  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1 of 5 \(seed 3\): \{'bpr': nan\}"):
        fit(model, checkerboard(), config=FitConfig(epochs=4, batch_size=64), seed=3, directory=tmp_path)


def test_a_monitor_that_is_not_measured_is_named():
    with pytest.raises(KeyError, match=r"'ndcg@10' is not among the validation metrics \['recall@20'\]"):
        fit(lightgcn(), checkerboard(), lambda m: {"recall@20": 1.0}, FitConfig(epochs=1, monitor="ndcg@10"))


def test_a_closed_form_is_solved_and_saved(tmp_path):
    graph = twelve_nodes()
    model = EASE(graph, reg=1.0)
    report = fit(model, graph, lambda m: {"recall@20": 0.25}, directory=tmp_path)
    assert report.best == {"recall@20": 0.25}
    assert torch.equal(load_checkpoint(tmp_path / "checkpoint.pt")["model"]["weight"], model.weight)


def test_bf16_trains():
    model = BPRMF(checkerboard(), embedding_dim=8)
    report = fit(model, checkerboard(), config=FitConfig(epochs=5, batch_size=64, precision="bf16", learning_rate=0.05))
    assert report.history[-1]["loss/bpr"] < report.history[0]["loss/bpr"]


def test_fit_leaves_the_global_random_stream_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    model = lightgcn()
    torch.manual_seed(1)
    fit(model, checkerboard(), config=FitConfig(epochs=1))
    assert torch.equal(torch.rand(1), expected)


def test_unknown_keys_are_refused():
    with pytest.raises(ValueError, match="lerning_rate"):
        FitConfig(lerning_rate=0.1)  # type: ignore[call-arg]


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"x": torch.ones(2)})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"x": torch.zeros(2)})
    assert load_checkpoint(path)["x"].tolist() == [1, 1]


def test_a_torn_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_checkpoint(tmp_path / "other.pt")
