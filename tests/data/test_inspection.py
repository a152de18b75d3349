"""What is in this data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from mmgraph.data import DataError, Dataset, read_any
from mmgraph.data.inspection import Report, inspect, unread
from tests.data import layouts


def test_a_media_folder(tmp_path: Path):
    report = inspect(layouts.media_folder(tmp_path / "clips"))
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
        (layouts.microlens, "MicroLens"),
        (layouts.movielens, "MovieLens"),
    ],
)
def test_layouts_are_recognised(make, layout: str, tmp_path: Path):
    dataset = read_any(make(tmp_path))
    assert dataset.origin.layout == layout
    assert dataset.num_interactions == 20


def test_files_are_recognised_by_their_ending(tmp_path: Path):
    frame = pl.DataFrame(layouts.PAIRS, schema=["user_id", "video_id"], orient="row")
    frame.write_parquet(tmp_path / "interactions.parquet")
    frame.write_csv(tmp_path / "log.csv")
    layouts.mmrec(tmp_path / "m")
    layouts.sequences(tmp_path / "s")
    for name in ("interactions.parquet", "log.csv", "m/tiny.inter", "s/Tiny.txt", "."):
        assert read_any(tmp_path / name).num_interactions == 20
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


def test_columns_that_look_like_something_else_are_noticed(tmp_path: Path):
    log = ["user_id,video_id,when,score,like,session_id"]
    log += [f"u{n % 4},v{n % 5},2024-05-{n + 10} 08:00,{n / 20},1,s{n % 3}" for n in range(12)]
    layouts.write(tmp_path / "interactions.csv", log)
    rows = [f'v{n},"[27, {n}]",a|b,2024-05-1{n},c{n % 2}' for n in range(5)]
    layouts.write(tmp_path / "videos.csv", ["video_id,category,words,created,creator_id", *rows])
    report = inspect(tmp_path)
    assert report.hints == [
        "interactions: column 'when' looks like times (dates): time='when' makes it the time",
        "interactions: column 'score' looks like probabilities (0 to 0.55)",
        "interactions: column 'session_id' looks like ids (3 different): kept as it is",
        "videos: column 'category' holds lists: entities=['category'] makes them entities",
        "videos: column 'words' holds several words with | between them: entities=['words'] makes them entities",
        "videos: column 'created' looks like times (dates): kept as it is",
        "videos: column 'creator_id' looks like ids (2 different): entities=['creator_id'] makes them entities",
    ]
    assert "hint" in dict(report.lines())


def test_files_that_were_not_read_are_named(tmp_path: Path):
    folder = layouts.media_folder(tmp_path / "clips")
    for name in (
        "notes.txt",
        "README.md",
        "features/old.npz",
        "features/visual.pt",
        "extra/sub/x.csv",
        ".hidden/y.csv",
    ):
        layouts.write(folder / name, ["?"])
    layouts.write(folder / "video_frames/v1/c.heic", ["?"])
    for n in range(30):
        layouts.write(folder / f"logs/{n}.log", ["?"])
    report = inspect(folder)
    assert report.unread == [
        *("extra/sub/x.csv", "features/old.npz", "features/visual.pt", "logs/ (30 files: .log)", "notes.txt"),
        "video_frames/v1/c.heic",
    ]
    assert "not read" in str(report)
    assert unread(folder / "users.csv", read_any(folder)) == []
    mmrec = layouts.mmrec(tmp_path / "mmrec")
    np.save(mmrec / "clip_emb.npy", layouts.FEATURES)
    np.save(mmrec / "user_graph.npy", np.ones((5, 5)))
    np.savez(mmrec / "text_feat.npz", a=layouts.FEATURES)
    report = inspect(mmrec)
    assert list(report.modalities) == ["clip", "visual", "audio"]
    assert report.decided == ["clip_emb.npy: 8 rows, hence the modality 'clip'"]
    assert report.unread == ["text_feat.npz", "user_graph.npy"]


def test_a_file_is_read_by_its_content(tmp_path: Path):
    rows = ["196\t242\t3\t881250949", "186\t302\t3\t891717742", "22\t377\t1\t878887116", "196\t51\t2\t880606923"]
    report = inspect(layouts.write(tmp_path / "ratings.tsv", rows))
    assert (report.layout, report.users, report.videos, report.interactions) == ("ratings", 3, 4, 4)
    assert report.decided[0] == "ratings.tsv: no header; read as user, video, rating and time, as the values look"
    assert inspect(layouts.write(tmp_path / "u.data", [r.replace("\t", "::") for r in rows])).time is not None
    titled = inspect(layouts.write(tmp_path / "log.txt", ["user_id;video_id;like", "1;2;1", "3;4;0"]))
    assert (titled.layout, titled.interactions) == ("CSV", 2)
    with pytest.raises(DataError, match="name the 3 columns"):
        inspect(layouts.write(tmp_path / "bare.csv", ["1,2,0.5", "3,4,0.5"]))
    with pytest.raises(DataError, match="field 3 looks like a time: a table without a header"):
        inspect(layouts.write(tmp_path / "times.txt", ["1 2 881250949 7", "3 4 881250950 60", "5 6 881250950 99"]))
