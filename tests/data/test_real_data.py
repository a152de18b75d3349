"""The real sets, against the counts known for them. Skipped where ``MMGRAPH_DATA`` is not set."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mmgraph.data import (
    Dataset,
    Features,
    global_time_split,
    leave_last_one_out,
    published_split,
    read_lightgcn,
    read_mmrec,
    read_movielens,
    read_sequences,
)
from mmgraph.data.inspection import inspect


def counts(dataset: Dataset) -> tuple[int, int, int]:
    return dataset.num_users, dataset.num_videos, dataset.num_interactions


@pytest.mark.parametrize(
    ("folder", "size", "parts"),
    [
        ("tiktok", (9_308, 6_710, 68_722), (59_541, 3_051, 6_130)),
        ("baby", (19_445, 7_050, 160_792), (118_551, 21_682, 20_559)),
        ("sports", (35_598, 18_357, 296_337), (218_409, 40_029, 37_899)),
    ],
)
def test_mmrec_sets(data_root: Path, folder: str, size, parts):
    dataset = read_mmrec(data_root / folder)
    assert counts(dataset) == size
    split = published_split(dataset, "x_label")
    assert (len(split.train), len(split.valid), split.num_test) == parts


def test_tiktok_features_and_cold_targets(data_root: Path):
    dataset = read_mmrec(data_root / "tiktok")
    assert {m: f.dim for m, f in dataset.features.items()} == {"visual": 128, "audio": 128}
    assert all(bool(f.present.all()) for f in dataset.features.values())
    split = published_split(dataset, "x_label")
    trained = split.train["video"].unique().implode()
    cold = split.open_test("counting").filter(~pl.col("video").is_in(trained))
    assert cold["user"].n_unique() == 449


def test_gowalla(data_root: Path):
    dataset = read_lightgcn(data_root / "gowalla")
    assert counts(dataset) == (29_858, 40_981, 1_027_370)
    split = published_split(dataset, "split", seen_at_test="train+valid")
    assert len(split.seen("test")) == 810_128
    assert split.num_test == 217_242


def test_ml1m_with_original_ids_and_partial_features(data_root: Path):
    folder = data_root / "ml1m"
    dataset = read_lightgcn(folder, user_map=folder / "user_map.txt", video_map=folder / "item_map.txt")
    assert counts(dataset) == (6_040, 3_260, 998_539)
    assert dataset.video_ids.raw([0, 1]) == [1193, 661]
    table = pl.read_csv(folder / "video_mise_en_scene.csv")
    table = table.filter(pl.Series(dataset.video_ids.find(table["movie_id"]) >= 0))
    features = Features.aligned(dataset.video_ids, table["movie_id"], table.drop("movie_id").to_numpy())
    assert 2_000 < int(features.present.sum()) < 2_500
    split = published_split(dataset, "split", valid_ratio=0.1)
    assert len(split.train) + len(split.valid) == 801_218
    assert split.num_test == 197_321


def test_movielens_small(data_root: Path):
    dataset = read_movielens(data_root / "mlsmall")
    assert counts(dataset) == (610, 9_724, 100_836)
    assert dataset.videos["title"].null_count() == 0
    assert len(dataset.entities["genre"]) == 19
    assert sum(bool(f) for f in dataset.media["image"]) > 9_000
    split = global_time_split(dataset)
    assert split.train["time"].max() < split.valid["time"].min()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("file", "size"),
    [
        ("Beauty", (22_363, 12_101, 198_502)),
        ("Toys_and_Games", (19_412, 11_924, 167_597)),
        ("Sports_and_Outdoors", (35_598, 18_357, 296_337)),
    ],
)
def test_sequences(data_root: Path, file: str, size):
    dataset = read_sequences(data_root / "sequences" / f"{file}.txt")
    assert counts(dataset) == size
    split = leave_last_one_out(dataset)
    assert split.num_test == len(split.valid) == size[0], "every user has one"


def test_microlens(data_root: Path):
    folder = data_root / "microlens50k"
    dataset = read_sequences(folder / "MicroLens-50k_pairs.tsv", titles=folder / "MicroLens-50k_titles.csv")
    assert counts(dataset) == (50_000, 19_220, 359_708)
    assert dataset.videos["title"].null_count() == 0


def test_inspect_reads_them_all(data_root: Path):
    for name in ("tiktok", "mlsmall", "microlens50k"):
        report = inspect(data_root / name)
        assert report.interactions > 50_000
        assert not any("repeat" in p for p in report.problems)
