"""What is in this data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from mmgraph.data import DataError, Dataset
from mmgraph.data.inspection import Report, inspect, inspect_folder, read_any
from tests.data import layouts


def test_a_media_folder(tmp_path: Path):
    report = inspect_folder(layouts.media_folder(tmp_path / "clips"))
    assert (report.layout, report.users, report.videos, report.interactions) == ("media folder", 5, 8, 20)
    assert report.density == 0.5
    assert report.modalities["audio"] == {"width": 3, "videos": 7, "share": 0.875}
    assert report.media == {"image": {"videos": 2, "files": 3}, "audio": {"videos": 2, "files": 2}}
    assert report.signals == {"click": 0.75, "finish": 0.5, "like": 0.0}
    assert report.time is not None
    assert report.time["days"] == pytest.approx(19 / 24)
    assert report.time["first"] == "2023-11-14T22:13:20+00:00"
    assert report.per_user["median"] == 4
    assert report.problems == []
    text = str(report)
    assert text.startswith("clips\n")
    assert "7 videos (87.5%)" in text
    assert "none found" in text
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report)
    assert "3 files of 2 videos" in console.export_text()
    assert Report.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    ("make", "layout"),
    [
        (layouts.media_folder, "media folder"),
        (layouts.mmrec, "MMRec"),
        (layouts.lightgcn, "LightGCN"),
        (layouts.sequences, "ordered lists"),
        (layouts.microlens, "ordered lists"),
        (layouts.movielens, "MovieLens"),
    ],
)
def test_layouts_are_recognised(make, layout: str, tmp_path: Path):
    dataset, found = read_any(make(tmp_path))
    assert found == layout
    assert dataset.num_interactions == 20


def test_files_are_recognised_by_their_ending(tmp_path: Path):
    frame = pl.DataFrame(layouts.PAIRS, schema=["user_id", "video_id"], orient="row")
    frame.write_parquet(tmp_path / "interactions.parquet")
    frame.write_csv(tmp_path / "log.csv")
    layouts.mmrec(tmp_path / "m")
    layouts.sequences(tmp_path / "s")
    for name in ("interactions.parquet", "log.csv", "m/tiny.inter", "s/Tiny.txt", "."):
        assert read_any(tmp_path / name)[0].num_interactions == 20
    layouts.write(tmp_path / "s/Other.txt", ["1 2"])
    with pytest.raises(DataError, match="2 list files"):
        read_any(tmp_path / "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no known layout.*a media folder has"):
        read_any(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no known ending '\.x'"):
        read_any(layouts.write(tmp_path / "a.x", ["?"]))


def test_problems_are_told():
    frame = {"user": [0, 0, 1, 1], "video": [0, 0, 0, 1], "time": [5.0, 5.0, 5.0, 5.0]}
    dataset = Dataset.from_frames(
        frame,
        videos={"video_id": [0, 1, 2]},
        duplicates="keep",
        features={"visual": np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])},
    )
    report = inspect(dataset)
    assert report.videos_without_interactions == 1
    text = "\n".join(report.problems)
    for part in (
        "1 interactions repeat",
        "2 users have fewer than 3",
        "visual: 1 videos have a row of zeros",
        "visual: 1 of 2 columns are constant",
        "all times are equal",
        "4 times are before 1990",
    ):
        assert part in text
    assert dict(report.lines())["users"] == "2 (0 without interactions)"
    late = Dataset.from_frames({"user": [0], "video": [0], "time": [9e10]})
    assert "1 times are in the future" in "\n".join(inspect(late).problems)
