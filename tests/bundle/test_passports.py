"""Passports of features, from what ``mmgraph encode`` wrote into a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import mmgraph
from mmgraph.bundle import load
from mmgraph.bundle.passports import read_passports
from mmgraph.cli.app import app
from mmgraph.data import DataError
from mmgraph.data.attached import Features
from mmgraph.data.readers.feature_folder import write_feature_folder
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.encoders import HashEncoder
from mmgraph.features import passport
from mmgraph.models import ContentMean
from mmgraph.serve.media import bundle_encoder
from tests.bundle.test_bundle import dataset_of
from tests.worlds import checkerboard

ENCODER = HashEncoder(dim=32)


def world(tmp_path: Path):
    """A run over encoded texts, and the folder of their features, which knows one video more, in another order."""
    graph = checkerboard(24, ("text",))
    texts = [f"{'engines and oil' if v % 2 else 'a cat'} {v}" for v in range(25)]
    made = ENCODER(texts)
    graph["text"].x = made.values[:24].clone()
    model = ContentMean(graph)
    model.solve(graph)
    order = torch.arange(24, -1, -1)
    features = Features(made.values[order], made.present[order])
    told = {"passports": {"text": passport("text", features, encoder=ENCODER).model_dump(mode="json")}}
    folder = tmp_path / "features"
    folder.mkdir()
    others = {"passports.json": json.dumps(told).encode()}
    write_feature_folder(folder, Vocabulary(order.tolist()), {"text": features}, others)
    return model, graph, dataset_of(graph), folder


def test_the_bundle_names_the_encoder_of_the_features_that_were_trained_on(tmp_path: Path):
    model, graph, dataset, folder = world(tmp_path)
    saved = mmgraph.save(model, tmp_path / "model", graph, dataset)
    words = ["export", str(saved), "--out", str(tmp_path / "b"), "--features", str(folder)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    manifest = load(tmp_path / "b").manifest
    assert manifest.modalities["text"].passport["encoder"] == ENCODER.describe()
    assert bundle_encoder(manifest, "text").describe() == ENCODER.describe()


def test_features_that_are_not_those_trained_on_are_refused(tmp_path: Path):
    _, graph, dataset, folder = world(tmp_path)
    assert set(read_passports(folder, graph, dataset)) == {"text"}
    graph["text"].x[3, 0] += 1
    with pytest.raises(DataError, match="not those that the run was trained on"):
        read_passports(folder, graph, dataset)
    with pytest.raises(DataError, match=r"passports\.json"):
        read_passports(tmp_path, graph, dataset)
    other = checkerboard(24, ("visual",))
    with pytest.raises(DataError, match="no passport of a modality"):
        read_passports(folder, other, dataset)
