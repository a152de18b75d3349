"""What each request showed: as exposures of a dataset, and as the candidates of an evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from mmgraph.data import DataError, Dataset, UnknownIdError, read_impressions
from mmgraph.data.errors import Source
from mmgraph.data.readers.impressions import exposure_table
from tests.data import layouts

TRAIN = [("p1", "n1"), ("p2", "n1"), ("p3", "n1"), ("p1", "n2"), ("p2", "n2"), ("p3", "n3")]
TRAIN += [("p1", "n4"), ("p2", "n5"), ("p3", "n6"), ("p4", "n1"), ("p4", "n2"), ("p4", "n3")]
SHOWN = ["1,p1,n3,1", "1,p1,n5,0", "1,p1,n6,0", "1,p1,n1,0", "2,p2,n3,0", "2,p2,n4,1", "2,p2,n6,0"]
SHOWN += ["3,p3,n2,1", "3,p3,n5,1", "3,p3,n4,0", "4,p1,n5,0", "4,p1,n3,0", "4,p1,n6,1"]


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.from_frames(pl.DataFrame(TRAIN, schema=["user_id", "video_id"], orient="row"), name="news")


def test_one_row_a_shown_video(dataset: Dataset, tmp_path: Path):
    path = layouts.write(tmp_path / "impressions.csv", ["impression_id,user_id,video_id,click", *SHOWN])
    shown = read_impressions(path, dataset)
    assert shown.columns == ["user", "video", "request", "position", "click"]
    assert shown["request"].to_list() == [0] * 4 + [1] * 3 + [2] * 3 + [3] * 3
    assert shown["position"].to_list() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert dataset.video_ids.raw(shown["video"])[:4] == ["n3", "n5", "n6", "n1"]
    assert shown["click"].to_list() == [1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1]
    assert replace(dataset, exposures=shown).exposures is shown


def test_one_row_a_request(dataset: Dataset, tmp_path: Path):
    rows = ["a\tp1\tn3-1 n5-0 n6-0 n1-0\t11/14/2019 8:36:57 AM", "b\tp2\tn3-0 n4-1\t11/15/2019 8:36:57 AM"]
    path = layouts.write(tmp_path / "log.tsv", ["request\tuser\timpressions\ttime", *rows])
    shown = read_impressions(path, dataset)
    assert dataset.video_ids.raw(shown["video"]) == ["n3", "n5", "n6", "n1", "n3", "n4"]
    assert shown["click"].to_list() == [1, 0, 0, 0, 0, 1]
    assert shown["position"].to_list() == [0, 1, 2, 3, 0, 1]
    assert shown["time"].unique(maintain_order=True).to_list() == [1573720617, 1573807017]
    # candidates of a person, without clicks and without a name for the request
    lists = read_impressions(pl.DataFrame({"user": ["p3", "p4"], "candidates": ["n1 n2", "n6"]}), dataset)
    assert lists.columns == ["user", "video", "request", "position"]
    assert lists["request"].to_list() == [0, 0, 1]
    with pytest.raises(UnknownIdError, match=r"log\.tsv, line 3, column 'impressions': unknown id 'n9'"):
        read_impressions(
            layouts.write(path, ["request\tuser\timpressions", "a\tp1\tn3-1 n5-0", "b\tp2\tn9-1"]), dataset
        )


def test_ids_with_blanks_are_no_lists(tmp_path: Path):
    spaced = Dataset.from_frames({"user_id": ["p"], "video_id": ["a film-1"]})
    frame = pl.DataFrame({"request": [7], "user_id": ["p"], "video_id": ["a film-1"], "tab": ["home"]})
    shown = read_impressions(frame, spaced)
    assert (shown["video"].to_list(), shown["tab"].to_list()) == ([0], ["home"])


def test_signals_and_propensities_stay(dataset: Dataset):
    frame = pl.DataFrame({"req": [5, 5], "user_id": ["p1", "p1"], "video_id": ["n1", "n2"], "propensity": [0.5, 0.1]})
    shown = read_impressions(frame.with_columns(position=pl.Series([3, 1]), long_view=1), dataset, request="req")
    assert shown["position"].to_list() == [3, 1]
    assert shown["propensity"].dtype == pl.Float32
    assert shown["long_view"].to_list() == [1, 1]
    replace(dataset, exposures=shown)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["1,p1,n3,1", "1,p2,n4,0"], "line 2, column 'user_id': request 1 is of several users"),
        (["1,p1,n3,2"], "line 2, column 'click': 2 is neither 0 nor 1"),
        (["1,p1,n3,yes"], "line 2, column 'click': 'yes' is neither 0 nor 1"),
        (["1,p9,n3,1"], "line 2, column 'user_id': unknown id 'p9'"),
        ([",p1,n3,1"], "line 2, column 'impression_id': the request is missing"),
    ],
)
def test_wrong_impressions_say_where(rows: list[str], problem: str, dataset: Dataset, tmp_path: Path):
    path = layouts.write(tmp_path / "a.csv", ["impression_id,user_id,video_id,click", *rows])
    with pytest.raises(DataError, match=rf"a\.csv, {problem}"):
        read_impressions(path, dataset)


def test_a_log_without_requests_is_asked_about(dataset: Dataset):
    with pytest.raises(DataError, match="no column says which videos were shown together"):
        read_impressions(pl.DataFrame({"user_id": ["p1"], "video_id": ["n1"]}), dataset)


def test_requests_are_numbered_as_they_come(dataset: Dataset):
    table = exposure_table(
        pl.Series(["p2", "p1", "p2"]),
        pl.Series(["n1", "n1", "n2"]),
        dataset.user_ids,
        dataset.video_ids,
        Source(),
        request=pl.Series(["z", "a", "z"]),
    )
    assert table["request"].to_list() == [0, 1, 0]
    assert table["position"].to_list() == [0, 0, 1]
