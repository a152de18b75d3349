"""Reports of runs: what the results say, whose run it is, and media where there are some."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mmgraph.data import Dataset, random_split
from mmgraph.experiment import Result
from mmgraph.graph import build_graph
from mmgraph.models import ItemKNN, LightGCN
from mmgraph.ops import CSR
from mmgraph.report import Clips, report_of_results, runs_beside, with_model
from mmgraph.report.people import different_users
from mmgraph.report.places import video_map


def result(name: str, seed: int = 0, protocol: str = "p-1", model: str = "mmgraph.models:EASE", **metrics) -> Result:
    test = {"recall@10": 0.5, "recall@20": 0.1} | metrics
    return Result(
        experiment=name,
        protocol=protocol,
        seed=seed,
        valid={"all": test},
        test={"all": test},
        config={"model": model, "fit": {"monitor": "recall@20"}},
        environment={},
        data={"name": "toy", "users": 7, "videos": 1234, "train": 99},
        training={"best_epoch": 1, "seconds": 2.0, "stopped": "all 3 epochs"},
    )


NEW = {"recall_known@20": 0.2, "recall_new@20": 0.05, "new_share@20": 0.12, "new_shown@20": 0.9}


def test_the_table_has_the_run_first_then_the_others_best_first_over_seeds() -> None:
    results = [
        result("ours", 0, **{"recall@20": 0.2} | NEW),
        result("ours", 1, **{"recall@20": 0.4} | NEW),
        result("low", **{"recall@20": 0.1}),
        result("high", **{"recall@20": 0.35} | NEW),
        result("truth", **{"recall@20": 0.6, "new_share@20": 0.25}),
    ]
    made = report_of_results(results, ceiling="truth", names={"ours": "Ours"}, notes={"high": "a baseline"})
    assert [(row.name, row.kind) for row in made.table.rows] == [
        ("truth", "ceiling"),
        ("Ours", "model"),
        ("high", "baseline"),
        ("low", "baseline"),
    ]
    assert made.table.rows[1].values == pytest.approx([0.3, 0.2, 0.05, 0.12, 0.9])
    assert made.table.rows[3].values == [0.1, None, None, None, None]
    assert made.table.rows[1].note == "EASE, mean of 2 seeds"
    assert made.table.rows[2].note == "a baseline"
    tiles = {label: (value, more) for value, label, more in made.figures}
    assert tiles["videos"][0] == "1,234"
    assert tiles["Recall@20"][0] == "0.300"
    assert "high, has 0.350" in tiles["Recall@20"][1], "a run says which other is better"
    assert tiles["of the known ceiling"][0] == "50%"
    assert tiles["of the lists is new"] == ("12%", "videos that nobody in training clicked; of the ideal lists 25%")
    assert tiles["of the new videos"][0] == "90%"


def test_without_new_videos_and_ceiling_nothing_is_said_of_them() -> None:
    made = report_of_results([result("ours", **{"recall_new@20": math.nan})])
    assert len(made.table.columns) == 1
    assert [label for _, label, _ in made.figures] == ["videos", "Recall@20"]
    ten = result("ours").model_copy(update={"test": {"all": {"recall@5": 0.1, "recall@10": 0.2}}})
    assert report_of_results([ten]).figures[1][:2] == ("0.200", "Recall@10")


def test_a_report_is_about_one_protocol() -> None:
    with pytest.raises(ValueError, match="one protocol"):
        report_of_results([result("a"), result("b", protocol="p-2")])
    with pytest.raises(ValueError, match="no results"):
        report_of_results([])
    nothing = result("a").model_copy(update={"test": {"all": {"auc": 0.5}}})
    with pytest.raises(ValueError, match="no recall was measured"):
        report_of_results([nothing])


def test_runs_beside_are_those_of_the_same_protocol_the_run_first(tmp_path: Path) -> None:
    for made in (result("b"), result("a"), result("b", 1), result("other", protocol="p-2")):
        made.save(tmp_path / made.experiment / str(made.seed))
    (tmp_path / "a" / "search-0").mkdir()
    found = [(r.experiment, r.seed) for r in runs_beside(tmp_path / "b" / "1")]
    assert found == [("b", 1), ("a", 0), ("b", 0)]


def test_curves_come_from_the_log_with_the_kept_epoch(tmp_path: Path) -> None:
    saved = result("a").save(tmp_path)
    rows = [
        {"epoch": e, "loss/bpr": 1.0 / (e + 1), "loss/l2": 0.1, "seconds": 1.0} | ({"recall@20": e / 10} if e else {})
        for e in range(3)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = {curve.title: curve for curve in report_of_results([saved]).curves}
    assert set(drawn) == {"Loss", "recall@20 on valid"}
    assert list(drawn["recall@20 on valid"].epochs) == [1, 2]
    assert drawn["Loss"].best == 1


@pytest.fixture(scope="module")
def checkerboard() -> Dataset:
    pairs = [(f"u{u}", f"v{v}", 10 * v + u) for u in range(12) for v in range(16) if (u + v) % 2 == 0]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id", "timestamp"], orient="row")
    videos = pl.DataFrame({"video_id": [f"v{v}" for v in range(17)], "title": [f"Film {v}" for v in range(17)]})
    return Dataset.from_frames(frame, videos=videos, name="toy")


def test_with_model_adds_people_and_a_map_where_the_model_has_places(checkerboard: Dataset) -> None:
    split = random_split(checkerboard, seed=0)
    graph = build_graph(split, "test")
    torch.manual_seed(0)
    plain = report_of_results([result("ours")])
    user = int(checkerboard.user_ids.rows(["u3"])[0])
    made = with_model(
        plain, LightGCN(graph), graph, checkerboard, split.train, users=[user], tastes=lambda row: [f"taste {row}"]
    )
    (viewer,) = made.viewers
    assert (viewer.name, viewer.tastes) == ("User u3", [f"taste {user}"])
    seen = split.train.filter(pl.col("user") == user).sort("time", descending=True)["video"].to_list()
    titles = checkerboard.videos["title"].to_list()
    assert [clip.title for clip in viewer.watched] == [titles[video] for video in seen][:10]
    assert len(viewer.picks) == 6
    assert not {clip.title for clip in viewer.watched} & {pick.clip.title for pick in viewer.picks}
    assert made.map is not None
    assert len(made.map.points) == 17
    assert made.map.sprite is None
    assert sum(point.new for point in made.map.points) == int((graph.seen.transpose().degree() == 0).sum()) >= 1
    closed = ItemKNN(graph)
    closed.solve(graph)
    assert with_model(plain, closed, graph, checkerboard, split.train).map is None, (
        "scores that are no dot product have no places"
    )
    assert len(with_model(plain, closed, graph, checkerboard, split.train).viewers) == 3


def test_a_large_catalogue_is_drawn_in_part_and_says_so(checkerboard: Dataset) -> None:
    graph = build_graph(random_split(checkerboard, seed=0), "test")
    torch.manual_seed(0)
    drawn = video_map(
        LightGCN(graph), graph, checkerboard, Clips(checkerboard), most=9, groups=["a", "b", "b"] * 5 + ["b", "c"]
    )
    assert drawn is not None
    assert len(drawn.points) == 9
    assert "9 of 17 videos are drawn" in drawn.note
    assert drawn.groups[0] == "b", "the largest group first"


def test_the_people_differ_in_what_they_watched() -> None:
    rows = [[0, 1, 2, 3, 4], [0, 1, 2, 3], [5, 6, 7], [0, 5], []]
    user = torch.tensor([u for u, videos in enumerate(rows) for _ in videos])
    seen = CSR.from_edges(user, torch.tensor([v for videos in rows for v in videos]), (5, 8))
    assert different_users(seen, 2) == [0, 2]
    assert different_users(seen, 9) == [0, 2, 3, 1], "nobody without a click"


def test_clips_show_what_can_be_read_and_leave_out_the_rest(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("av")
    image.new("RGB", (30, 40), (10, 200, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    frame = pl.DataFrame({"user_id": ["u", "u"], "video_id": ["a", "b"]})
    videos = pl.DataFrame({"video_id": ["a", "b", "c"], "title": ["An a", None, ""]})
    media = {"image": {"a": [tmp_path / "a.png"], "b": [tmp_path / "b.png"]}, "audio": {"a": [tmp_path / "a.wav"]}}
    clips = Clips(Dataset.from_frames(frame, videos=videos, media=media))
    assert clips.titles == ["An a", "b", "c"], "the raw id where there is no title"
    assert clips.pictures
    first, second = clips.clip(0), clips.clip(1)
    assert str(first.image).startswith("data:image/jpeg")
    assert str(first.sound).startswith("data:audio/wav")
    assert clips.clip(0, sound=False).sound is None
    assert (second.image, second.sound) == (None, None)
    assert not Clips(Dataset.from_frames(frame)).pictures
