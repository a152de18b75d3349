"""The challenge's files: formats, rows, exposures without labels, and memory that does not grow with the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgraph.data.errors import DataError
from mmgraph.data.readers.kuaishou import (
    FACE_COLUMNS,
    KuaishouChallenge,
    read_batches,
    read_faces,
    read_kuaishou,
    read_visual,
    read_words,
    scan_interactions,
    to_parquet,
    word_features,
)

TRAIN = """10\t500\t1\t0\t0\t1500000000\t8\t10
10\t501\t0\t0\t0\t1500000010\t0\t12
11\t500\t1\t1\t0\t1500000020\t10\t10
11\t507\t1\t0\t1\t1500000030\t9\t9
10\t507\t0\t0\t0\t1500000040\t1\t9
"""
TEST = """11\t600\t1500000100\t30
10\t600\t1500000110\t30
12\t601\t1500000120\t7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train_interaction.txt").write_text(TRAIN)
    (tmp_path / "test_interaction.txt").write_text(TEST)
    (tmp_path / "face.txt").write_text(
        "500\t[[0.2, 0, 20, 60], [0.1, 1, 40, 80]]\n507\t[]\n600\t[[0.5, 1, 30, 50]]\n9\t[[1, 1, 1, 1]]\n"
    )
    (tmp_path / "text.txt").write_text("500\t3,4\n501\t0\n600\t4\n601\t3,3\n")
    (tmp_path / "visual").mkdir()
    np.save(tmp_path / "visual" / "501.npy", np.full((1, 2048), 2.0))
    return tmp_path


def test_the_graph_is_made_of_clicks_and_test_videos_have_none(folder):
    challenge = read_kuaishou(folder, faces="face.txt", words="text.txt", visual="visual")
    assert isinstance(challenge, KuaishouChallenge)
    data = challenge.dataset
    assert data.user_ids.ids.to_list() == [10, 11, 12]
    assert data.video_ids.ids.to_list() == [500, 501, 507, 600, 601]
    assert sorted(zip(data.interactions["user"], data.interactions["video"], strict=True)) == [(0, 0), (1, 0), (1, 2)]
    assert data.interactions.filter(pl.col("video") == 2)["follow"].to_list() == [1]
    seen = challenge.exposures
    assert seen["test"].to_list() == [False] * 5 + [True] * 3
    assert seen["click"].to_list() == [1, 0, 1, 1, 0, None, None, None]
    assert seen.filter("test")["video"].to_list() == [3, 3, 4]
    assert data.exposures is not None
    assert data.exposures["held_out"].to_list() == seen["test"].to_list()
    assert data.exposures.filter("held_out")["click"].to_list() == [None] * 3
    assert data.exposures.select("user", "video").rows()[:2] == [(0, 0), (0, 1)], "shown, and the second ignored"
    assert data.exposures["time"][1] == 1500000010
    assert read_kuaishou(folder, exposures=False).dataset.exposures is None
    assert data.features["visual"].present.tolist() == [False, True, False, False, False]


def test_faces_are_summed_up_and_photos_without_one_are_absent(folder):
    faces = read_faces(folder / "face.txt")
    row = faces.filter(pl.col("photo_id") == 500).row(0, named=True)
    expected = {"faces": 2, "area": 0.3, "largest": 0.2, "female": 0.5, "age": 0.3, "look": 0.7}
    assert {c: pytest.approx(row[c], rel=1e-5) for c in FACE_COLUMNS} == expected
    assert 507 not in faces["photo_id"].to_list()
    features = read_kuaishou(folder, faces="face.txt").dataset.features["face"]
    assert features.present.tolist() == [True, False, False, True, False]


def test_words_are_hashed_with_idf_and_zero_means_none(folder):
    words = read_words(folder / "text.txt")
    assert dict(words.iter_rows()) == {500: [3, 4], 600: [4], 601: [3, 3]}
    ids = pl.Series([500, 501, 600, 601], dtype=pl.UInt32)
    features = word_features(ids, words, dim=32)
    assert features.present.tolist() == [True, False, True, True]
    assert np.allclose(features.values.norm(dim=1)[features.present], 1)
    one = features.values[2] @ features.values[0]
    assert abs(float(one)) > 0.5  # the word that both have
    assert abs(float(features.values[2] @ features.values[3])) < 1e-6


def test_a_picture_of_another_shape_is_refused(folder):
    np.save(folder / "visual" / "500.npy", np.zeros((1, 7)))
    with pytest.raises(DataError, match=r"500\.npy.*shape \(1, 7\)"):
        read_visual(folder / "visual", pl.Series([500, 501]))


def test_batches_and_parquet_hold_the_same_rows(folder):
    whole = scan_interactions(folder / "train_interaction.txt").collect()
    parts = list(read_batches(folder / "train_interaction.txt", rows=2))
    assert pl.concat(parts).equals(whole)
    again = to_parquet(folder / "train_interaction.txt", folder / "train.parquet")
    assert scan_interactions(again).collect().equals(whole)
    only = read_kuaishou(folder, users=[11])
    assert only.dataset.user_ids.ids.to_list() == [11]


def test_a_broken_line_names_the_file(folder):
    (folder / "train_interaction.txt").write_text(TRAIN + "10\tabc\t1\t0\t0\t1\t2\t3\n")
    with pytest.raises(DataError, match="train_interaction"):
        read_kuaishou(folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        scan_interactions(folder / "nowhere.txt")
