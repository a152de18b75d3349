"""Training goes on with what the log holds: new people and videos have trained rows, what is hidden stays so."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import mmgraph.models as models
from mmgraph.bundle import Bundle, Training, export, load
from mmgraph.bundle.bundle import ROWLESS
from mmgraph.cli.app import app
from mmgraph.data import Dataset
from mmgraph.serve.engine import Engine, Question
from mmgraph.serve.features import pack
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.refresh import RefreshError, grown_model, refresh
from tests.worlds import checkerboard

SIZE = 24
HOW = Training(learning_rate=0.05, batch_size=512)


def exported(folder: Path, name: str = "BPRMF", training: Training | None = HOW) -> Bundle:
    graph = checkerboard(SIZE)
    torch.manual_seed(0)
    model = getattr(models, name)(graph)
    if model.closed_form:
        model.solve(graph)
    user, video = graph.interactions()
    ids = list(range(SIZE))
    dataset = Dataset.from_frames(
        {"user": user.numpy(), "video": video.numpy()},
        users={"user_id": ids},
        videos={"video_id": ids, "title": [f"title {i}" for i in ids]},
        entities={"tag": pl.DataFrame({"video": ids, "tag": ["odd" if i % 2 else "even" for i in ids]})},
    )
    return export(model, graph, dataset, folder, training=training)


def clicks(user: str, videos: list[object], start: int = 0) -> list[Event]:
    return [
        Event(f"{user}-{v}", "click", 2e9 + start + at, {"user": user, "video": str(v)}) for at, v in enumerate(videos)
    ]


def look(row: int) -> dict[str, str]:
    graph = checkerboard(SIZE)
    return {m: pack(graph.features(m).values[row]) for m in graph.modalities}


@pytest.fixture
def log(tmp_path: Path):
    with SqliteLog(tmp_path / "log") as made:
        yield made


def filled(log: SqliteLog) -> None:
    """A newcomer who likes even videos, a hit among even users, a video nobody clicked, one nobody described."""
    fans = [Event(f"{u}-hit", "like", 2e9 + 50, {"user": str(u), "video": "hit"}) for u in range(2, SIZE, 2)]
    log.append(
        [
            *clicks("new", list(range(2, 20, 2))),
            Event(
                "v1", "video", 2e9, {"video": "hit", "features": look(2), "columns": {"title": "Hit", "tag": ["even"]}}
            ),
            Event("v2", "video", 2e9, {"video": "quiet", "features": look(3), "columns": {"title": "Quiet"}}),
            Event("v3", "video", 2e9, {"video": "bare", "columns": {"title": "Bare"}}),
            *fans,
            Event("s", "skip", 2e9 + 60, {"user": "watcher", "video": "0"}),
            Event("h", "hide", 2e9 + 70, {"video": "4"}),
        ]
    )


def test_what_the_log_holds_is_trained_on_and_a_reload_serves_it(tmp_path: Path, log: SqliteLog):
    old = exported(tmp_path / "b")
    with contextlib.closing(Engine(tmp_path / "b", log).start()) as engine:
        filled(log)
        done = refresh(tmp_path / "b", log, epochs=60)
        assert (done.before, done.users, done.videos, done.interactions) == (old.id, 2, 3, 9 + 11)
        assert done.bundle.manifest.log.seq == log.last()
        assert engine.reload() == {"before": old.id, "bundle": done.bundle.id}
        answer = engine.ask(Question("new", k=30)).result(20)
        assert answer.meta["seq"] == log.last()
        found = [item["video"] for item in answer.items]
        assert set(found[:3]) <= {"0", "20", "22", "hit", "quiet"}, "of their own kind, unseen, first"
        assert "4" not in found, "hidden stays hidden"
        assert "2" not in found, "what was seen before the refresh is seen after it"
    new = done.bundle
    rows = new.videos.row
    user = new.user[new.users.row["new"]]
    even, odd = (new.video[[rows[str(v)] for v in range(start, SIZE, 2)]] @ user for start in (0, 1))
    assert even.mean() > odd.mean(), "the newcomer's row was trained"
    like_evens = new.user[[new.users.row["0"]]] @ new.video[rows["hit"]]
    like_odds = new.user[[new.users.row["1"]]] @ new.video[rows["hit"]]
    assert like_evens > like_odds, "and the hit's, by what its fans like: user 0 had not clicked it"
    assert torch.equal(new.user[new.users.row["watcher"]], torch.zeros(new.manifest.dim)), "a skip says nothing"
    assert new.gate[rows["quiet"]] == 0, "features give it a row"
    assert new.gate[rows["bare"]] == ROWLESS, "nothing does"
    assert new.columns.row(rows["hit"], named=True)["tag"] == ["even"]
    assert new.columns.row(rows["1"], named=True) == {"id": "1", "title": "title 1", "tag": ["odd"]}


def test_it_goes_on_from_the_weights_and_can_go_on_again(tmp_path: Path, log: SqliteLog):
    old = exported(tmp_path / "b")
    same = refresh(tmp_path / "b", log, tmp_path / "same", epochs=0).bundle
    assert torch.equal(same.user, old.user)
    assert torch.equal(same.video, old.video)
    assert load(tmp_path / "b").id == old.id, "the old one lies where it lay"
    filled(log)
    one = refresh(tmp_path / "b", log, tmp_path / "one", epochs=0).bundle
    assert torch.equal(one.user[: len(old.users)], old.user), "old rows are as they were, new ones come behind"
    log.append(clicks("later", [0, 2]))
    two = refresh(tmp_path / "one", log, epochs=1)
    assert (two.interactions, two.users, two.bundle.manifest.users) == (2, 1, SIZE + 3)
    assert two.bundle.history.of(two.bundle.users.row["new"])[0].tolist() == list(range(2, 20, 2))


def test_a_closed_form_is_solved_anew(tmp_path: Path, log: SqliteLog):
    exported(tmp_path / "b", "ItemKNN")
    filled(log)
    new = refresh(tmp_path / "b", log).bundle
    assert new.manifest.kind == "linear"
    hit, even, odd = (new.videos.row[v] for v in ("hit", "6", "7"))
    assert new.video[even, hit] > 0 == new.video[odd, hit]


def test_what_cannot_go_on_is_refused_and_nothing_is_written(tmp_path: Path, log: SqliteLog, monkeypatch):
    exported(tmp_path / "plain", training=None)
    with pytest.raises(RefreshError, match="no model to train on: export it with --trainable"):
        refresh(tmp_path / "plain", log)
    old = exported(tmp_path / "b")
    filled(log)
    new = refresh(tmp_path / "b", log, tmp_path / "next", epochs=0).bundle
    with SqliteLog(tmp_path / "other") as other, pytest.raises(RefreshError, match="was made from log"):
        refresh(new.folder, other)
    with monkeypatch.context() as patch:
        patch.setattr("mmgraph.bundle.exporting.seal", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            refresh(tmp_path / "b", log, epochs=0)
    assert load(tmp_path / "b").id == old.id
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


def test_a_table_that_is_neither_users_nor_videos_cannot_grow():
    class Odd(models.BPRMF):
        def __init__(self, graph):
            super().__init__(graph)
            self.more = torch.nn.Parameter(torch.zeros(2 * graph.num_users + 1))

    small, large = checkerboard(SIZE), checkerboard(SIZE + 6)
    with pytest.raises(RefreshError, match=r"Odd cannot grow: more is \[49\] and would be \[61\]"):
        grown_model(Odd(small), large, (SIZE, SIZE))


def test_refresh_on_the_command_line(tmp_path: Path, log: SqliteLog):
    exported(tmp_path / "b")
    filled(log)
    log.close()
    words = ["refresh", str(tmp_path / "b"), "--log", str(tmp_path / "log"), "--epochs", "1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["users"], told["videos"], told["interactions"]) == (2, 3, 20)
    made = load(tmp_path / "b")
    assert made.id == told["bundle"]
    assert made.manifest.training == HOW
