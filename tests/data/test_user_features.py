"""User columns as numbers, with statistics of training users only."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from mmgraph.data import DataError, Dataset, encode_user_features, published_split, with_user_features


def make_split(users: dict):
    frame = {"user": ["a", "b", "c", "d"], "video": [1, 1, 1, 2], "part": [0, 0, 1, 2]}
    return published_split(Dataset.from_frames(frame, {"user_id": ["a", "b", "c", "d"], **users}), "part")


def test_numbers_are_standardised_on_training_users():
    got = encode_user_features(make_split({"age": [20, 40, 1000, None]}))
    assert got.dtype == torch.float32
    assert got.flatten().tolist() == [-1.0, 1.0, 97.0, 0.0]  # mean 30, deviation 10 of a and b alone


def test_categories_are_those_of_training_users():
    got = encode_user_features(make_split({"gender": ["m", "f", "x", None], "vip": [True, False, True, True]}))
    # columns: f, m | false, true; x was not seen in training
    assert got.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_columns_can_be_chosen_and_constant_ones_are_zero():
    split = make_split({"age": [20, 40, 60, 80], "same": [5, 5, 9, 9], "none": pl.Series([None] * 4, dtype=pl.String)})
    assert encode_user_features(split, ["same"]).flatten().tolist() == [0, 0, 0, 0]
    assert encode_user_features(split, ["none", "age"]).shape == (4, 1)


def test_what_cannot_be_encoded_is_refused():
    with pytest.raises(DataError, match="column 'height': the column is missing"):
        encode_user_features(make_split({"age": [1, 2, 3, 4]}), ["height"])
    with pytest.raises(DataError, match="row 1, column 'age': inf"):
        encode_user_features(make_split({"age": [1.0, float("inf"), 3.0, 4.0]}))
    with pytest.raises(DataError, match="type List"):
        encode_user_features(make_split({"l": [[1], [2], [3], [4]]}))
    with pytest.raises(DataError, match="no column besides the id"):
        encode_user_features(make_split({}))


def test_a_split_with_user_features_is_another_protocol_of_the_same_parts():
    split = make_split({"age": [20, 40, 1000, None]})
    known = with_user_features(split)
    assert split.dataset.user_features is None
    assert known.dataset.user_features is not None
    assert known.dataset.user_features.flatten().tolist() == [-1.0, 1.0, 97.0, 0.0]
    assert known.train.equals(split.train)
    assert known.protocol_id != split.protocol_id
    assert known.protocol_id == with_user_features(split, ["age"]).protocol_id
    other = with_user_features(make_split({"age": [20, 40, 999, None]}))
    assert other.protocol_id != known.protocol_id
    assert known.protocol.manifest["user_features"] == known.dataset.manifest()["user_features"]
