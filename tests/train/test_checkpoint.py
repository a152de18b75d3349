"""Checkpoints: whole or absent, and nothing that was changed is read."""

from __future__ import annotations

import os
import random

import pytest
import torch

from mmgraph.data.files import DamagedFile, WriteFailed
from mmgraph.models import LightGCN
from mmgraph.train import AdamW, FitConfig, fit, load_checkpoint, save_checkpoint
from tests.worlds import checkerboard


def test_what_was_written_comes_back_and_torch_reads_it_too(tmp_path):
    path, table = tmp_path / "checkpoint.pt", torch.randn(50, 7)
    save_checkpoint(path, {"a": table, "again": table, "n": {"x": [1, 2.5, "three"]}})
    found = load_checkpoint(path)
    assert torch.equal(found["a"], table)
    assert found["n"] == {"x": [1, 2.5, "three"]}
    assert torch.equal(torch.load(path, weights_only=True)["a"], table)
    assert path.stat().st_size < 2 * table.nbytes + 2000  # the shared tensor is there once


def test_every_flipped_byte_is_noticed(tmp_path):
    torch.manual_seed(0)
    config = FitConfig(epochs=2, batch_size=64, optimizer=AdamW())
    fit(LightGCN(checkerboard(), embedding_dim=4), checkerboard(), config=config, directory=tmp_path)
    path = tmp_path / "checkpoint.pt"
    good = path.read_bytes()
    places = random.Random(0).sample(range(len(good)), 150)
    for place in [*places, 0, len(good) - 1, len(good) - 40]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :])
        with pytest.raises(DamagedFile, match=r"checkpoint\.pt is not a readable checkpoint"):
            load_checkpoint(path)
    for short in (good[:-1], good[: len(good) // 2], b"", b"PK\x03\x04 torn", good + b"x"):
        path.write_bytes(short)
        with pytest.raises(DamagedFile, match="delete it to start over"):
            load_checkpoint(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"x": torch.ones(2)})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteFailed, match=r"cannot write .*checkpoint\.pt: No space left"):
        save_checkpoint(path, {"x": torch.zeros(2)})
    assert load_checkpoint(path)["x"].tolist() == [1, 1]
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_a_full_disk_ends_training_with_the_file_named_and_the_checkpoint_before_whole(tmp_path):
    resource = pytest.importorskip("resource")
    config = FitConfig(epochs=3, batch_size=64, checkpoint_seconds=0)
    graph = checkerboard()
    torch.manual_seed(0)
    fit(LightGCN(graph, embedding_dim=64), graph, config=config, directory=tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal = pytest.importorskip("signal")
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        more = FitConfig(epochs=5, batch_size=64, checkpoint_seconds=0)
        with pytest.raises(WriteFailed, match=r"cannot write .*checkpoint\.pt"):
            fit(LightGCN(graph, embedding_dim=64), graph, config=more, directory=tmp_path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, old)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "log.jsonl"]


def test_the_weights_called_model_are_those_that_are_reported(tmp_path):
    scores, states = iter([0.1, 0.5, 0.2]), []

    def validate(model):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"recall@20": next(scores)}

    model = LightGCN(checkerboard(), embedding_dim=4)
    fit(model, checkerboard(), validate, FitConfig(epochs=3, batch_size=64), directory=tmp_path)
    saved = load_checkpoint(tmp_path / "checkpoint.pt")
    assert saved["done"]
    assert torch.equal(saved["model"]["embedding"], states[1]["embedding"])
    assert torch.equal(saved["model"]["embedding"], model.embedding)
    assert torch.equal(saved["last"]["embedding"], states[2]["embedding"])
