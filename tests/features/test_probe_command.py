"""``mmgraph probe``: what features are worth to clicks, from a folder or a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student
from typer.testing import CliRunner

from mmgraph.cli import app
from mmgraph.features import Probe

RECIPE = """
import numpy as np, polars as pl, torch
from mmgraph.data import Dataset, random_split
from mmgraph.experiment import Experiment
from mmgraph.models import Popularity

def split():
    pairs = [(u, v) for u in range(40) for v in range(60) if u % 3 == v % 3 and (u * v) % 4]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
    told = torch.nn.functional.one_hot(torch.arange(60) % 3).float()
    videos = pl.DataFrame({"video_id": np.arange(60)})
    return random_split(Dataset.from_frames(frame, videos=videos, features={"told": told}, name="toy"), seed=0)

def popular():
    return Experiment(name="popular", split=split, model=Popularity)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "recipe.py").write_text(RECIPE)
    return f"{tmp_path}/recipe.py:popular"


def test_told_features_are_told_from_an_id_that_says_nothing_of_other_videos(recipe: str, tmp_path: Path):
    np.save(tmp_path / "id.npy", np.eye(60, dtype=np.float32))
    done = CliRunner().invoke(app, ["probe", recipe, "--features", f"id={tmp_path}/id.npy", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["probes"]
    assert found["told"]["interval"][0] > 0.9
    assert found["id"]["auc"] == 0.5, "an id gets exactly one half"
    low, high = found["told"]["interval"]
    assert low < found["told"]["auc"] < high
    shown = CliRunner().invoke(app, ["probe", recipe, "--modality", "told"])
    assert "told" in shown.stdout
    assert "95 % interval" in shown.stdout


def test_the_interval_is_that_of_a_mean_over_users():
    probe = Probe(auc=0.6, error=0.02, shuffled=0.5, users=11, videos=9, folds=3, ridges=(1.0, 1.0, 1.0))
    margin = student.ppf(0.975, 10) * 0.02
    assert probe.interval == pytest.approx((0.6 - margin, 0.6 + margin))


def test_wrong_calls_are_named(recipe: str, tmp_path: Path):
    (tmp_path / "x.txt").write_text("1")
    frame = pl.DataFrame({"user_id": [1, 2], "video_id": [1, 2]})
    (tmp_path / "plain").mkdir()
    frame.write_csv(tmp_path / "plain" / "interactions.csv")
    for given, said in (
        ([recipe, "--modality", "smell"], "smell"),
        ([recipe, "--features", "mine"], "write NAME=FILE"),
        ([recipe, "--features", f"mine={tmp_path}/no.npy"], "no file"),
        ([recipe, "--features", f"mine={tmp_path}/x.txt"], "give a .npy or a .pt"),
        ([str(tmp_path / "nowhere")], "no folder"),
        ([str(tmp_path / "plain")], "modalities"),
    ):
        done = CliRunner().invoke(app, ["probe", *given])
        assert done.exit_code == 1, given
        assert said in done.output, done.output
