"""The recipe of missing modalities, on a folder of eight films made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mmgraph import models
from mmgraph.data import Dataset, Features, random_split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, prepare
from mmgraph.graph import FilledFeatures, ScaleFeatures
from mmgraph.models import MMGCN, VBPR, Recommender
from mmgraph.recipes import ml1m, suites
from mmgraph.train import FitConfig


def test_films_are_put_to_their_features_by_movielens_id(tmp_path: Path, monkeypatch):
    folder = tmp_path / "ml1m"
    folder.mkdir()
    ids = [40, 7, 33, 5]
    (folder / "item_map.txt").write_text("".join(f"{raw} {row}\n" for row, raw in enumerate(ids)))
    (folder / "user_map.txt").write_text("9 0\n8 1\n")
    (folder / "train.txt").write_text("0 0 1 2\n1 1 3\n")
    (folder / "test.txt").write_text("0 3\n1 2\n")
    (folder / "llm_response_item.json").write_text(json.dumps({"7": "seven", "40": "forty", "99": "nobody"}))
    np.savez(folder / "audio_vggish.npz", movie_id=np.array([5, 99, 40]), audio=np.eye(3, dtype=np.float32))
    (folder / "video_mise_en_scene.csv").write_text("movie_id,f1,f2\n33,0.5,1\n7,2,3\n")
    (tmp_path / "mlsmall" / "posters").mkdir(parents=True)
    (tmp_path / "mlsmall" / "posters" / "33.jpg").touch()
    monkeypatch.setenv("MMGRAPH_DATA", str(tmp_path))
    made = ml1m.ml1m_dataset()
    rows = made.video_ids.rows([40, 7, 33, 5]).tolist()
    sound, scene = made.features["audio"], made.features["scene"]
    assert [bool(sound.present[r]) for r in rows] == [True, False, False, True]
    assert sound.values[rows[3]].tolist() == [1, 0, 0]
    assert sound.values[rows[0]].tolist() == [0, 0, 1]
    assert scene.values[rows[1]].tolist() == [2, 3]
    assert [made.videos["description"][r] for r in rows] == ["forty", "seven", None, None]
    assert [len(made.media["image"][r]) for r in rows] == [0, 0, 1, 0]
    assert made.interactions["split"].to_list().count(2) == 2


def lacking() -> Experiment:
    """A split in which half of the videos lack a modality."""
    pairs = [(u, v) for u in range(24) for v in range(24) if (u + v) % 2 == 0]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
    videos = pl.DataFrame({"video_id": np.arange(24)})
    values = torch.randn(24, 3, generator=torch.Generator().manual_seed(0)) + (torch.arange(24) % 2)[:, None]
    features = {"look": Features(values, torch.arange(24) % 3 > 0), "all": Features(values * 2)}
    split = random_split(Dataset.from_frames(frame, videos=videos, features=features, name="toy"), seed=0)
    return Experiment(
        name="toy",
        split=lambda: split,
        model=MMGCN,
        model_args={"embedding_dim": 4},
        transforms=(ScaleFeatures(),),
        fit=FitConfig(epochs=2, batch_size=64, monitor="recall@5"),
        evaluate=EvalConfig(k=(5,), groups=("all",), auc=False),
    )


def test_filling_comes_after_scaling_and_leaves_nothing_out():
    base = lacking()
    other = ml1m.filled(base)
    assert other.name == "toy-filled"
    assert other.transforms == (ScaleFeatures(), FilledFeatures())
    mask, zeros = (prepare(each, 0).graph.features("look") for each in (base, other))
    assert torch.equal(mask.values, zeros.values), "what is present is scaled by what is present, in both"
    assert (int(mask.present.sum()), int(zeros.present.sum())) == (16, 24)


def test_the_pair_is_tested_over_users_on_valid_and_the_test_stays_closed(tmp_path: Path):
    found = ml1m.against_zeros(lacking(), tmp_path, "recall@5")
    assert found["difference"] == pytest.approx(found["masked"] - found["filled"])
    assert found["users"] == 24
    assert 0 <= found["p"] <= 1
    assert found["margin"] > 0
    assert not (tmp_path / "openings.jsonl").exists()
    same = ml1m.against_zeros(lacking().variant(name="vbpr", model=VBPR), tmp_path, "recall@5")
    assert same["difference"] == 0, "to VBPR a missing modality and zeros are the same"


def test_the_pairs_are_named_apart():
    made = [make() for make in ml1m.PAIRS.values()]
    names = [each.name for base in made for each in (base, ml1m.filled(base))]
    assert len(set(names)) == 2 * len(ml1m.PAIRS)


def test_every_multimodal_model_is_in_the_short_suite():
    offered = {each for each in vars(models).values() if isinstance(each, type) and issubclass(each, Recommender)}
    here = {each for each in offered if ".multimodal." in each.__module__ and not each.__module__.endswith(".base")}
    assert here == set(ml1m.EVERY)
    assert {m.model for m in suites.ml1m().members()} == here
