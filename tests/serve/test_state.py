"""The state is a fold over the log: what an event does, and that the same entries give the same state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmgraph.bundle import Bundle
from mmgraph.ops.topk import reference
from mmgraph.serve.features import pack, unpack
from mmgraph.serve.index import Index
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.profiles import Met
from mmgraph.serve.snapshot import StateError, restore, state_hash, write_snapshot
from mmgraph.serve.state import State

DAY = 86_400.0
Looks = dict[str, dict[str, list[float]]]


def features(look: dict[str, list[float]]) -> dict[str, str]:
    return {name: pack(values) for name, values in look.items()}


def events(looks: Looks) -> list[Event]:
    """A little of everything."""
    return [
        Event("1", "click", 1e9, {"user": "1", "video": "2"}),
        Event("2", "video", 1e9, {"video": "new", "features": features(looks["even"]), "columns": {"title": "n"}}),
        Event("3", "like", 1e9, {"user": "stranger", "video": "new"}),
        Event("4", "hide", 1e9, {"video": "4"}),
        Event("5", "skip", 1e9, {"user": "0", "video": "6"}),
        Event("6", "delete", 1e9, {"video": "8"}),
        Event("7", "click", 1e9 + 1, {"user": "0", "video": "unheard"}),
        Event("8", "video", 1e9, {"video": "bare", "columns": {"tag": ["odd"]}}),
        Event("9", "finish", 1e9 - DAY, {"user": "stranger", "video": "10"}),
        Event("10", "show", 1e9, {"video": "4"}),
        Event("11", "hide", 1e9, {"video": "12"}),
    ]


@pytest.fixture
def log(log_path: Path, looks: Looks):
    with SqliteLog(log_path) as out:
        out.append(events(looks))
        yield out


def folded(bundle: Bundle, log: SqliteLog) -> State:
    state = State(bundle)
    state.catch_up(log)
    return state


def test_what_each_event_does(bundle: Bundle, log: SqliteLog, looks: Looks):
    state = folded(bundle, log)
    row = state.videos.find
    assert state.seq == 11
    assert state.hidden == {row("12")}
    assert state.deleted == {row("8")}
    assert state.nameless == {row("unheard")}, "an event may come before its video, which is not shown until then"
    assert state.rowless == {row("bare")}
    barred = [raw for raw in state.videos.raw if state.barred(state.videos.find(raw))]
    assert barred == ["8", "12", "unheard"]
    assert state.index.hidden.nonzero().flatten().tolist() == [8, 12, row("unheard"), row("bare")]
    # a new video of the looks of video 2 has the row of video 2
    assert torch.allclose(state.index.rows[row("new")], bundle.video[2], atol=1e-6)
    assert set(state.profiles.seen(0).tolist()) == {*bundle.history.of(0)[0].tolist(), 6, row("unheard")}
    assert [met.video for met in state.profiles.history(state.users.find("stranger"))] == [10, row("new")], (
        "in order of time"
    )
    assert state.profiles.clicks(0) == [Met(row("unheard"), 1e9 + 1, "click")], "a skip is seen, and no click"
    assert state.columns.of(row("new"), "title") == "n"
    assert state.columns.of(3, "title") == "title 3"
    assert state.columns.of(row("bare"), "tag") == ["odd"]
    assert state.columns.names() == ["tag", "title"]


def test_what_is_no_event_of_ours_changes_nothing_and_is_counted(bundle: Bundle, log: SqliteLog):
    state, wanted = folded(bundle, log), folded(bundle, log)
    log.append([
        Event("a", "click", 1e9, {"user": "1"}),
        Event("b", "video", 1e9, {"video": "x", "features": 5}),
        Event("c", "video", 1e9, {"video": "y", "features": {"visual": "no base64!"}}),
        Event("d", "dance", 1e9, {}),
    ])  # fmt: skip
    state.catch_up(log)
    assert (state.seq, state.unreadable) == (15, 2)
    assert "x" not in state.videos
    assert state.videos.find("y") in state.rowless
    assert state.profiles.met == wanted.profiles.met


def test_popularity_halves_with_the_age_of_the_event_not_of_its_arrival(bundle: Bundle, log: SqliteLog):
    state = folded(bundle, log)
    week = bundle.manifest.half_life
    before = bundle.popularity.numpy() * 2.0 ** ((bundle.manifest.popularity_at - state.popularity.at) / week)
    gained = state.popularity.weight[: len(before)] - before
    assert gained[2] == pytest.approx(2.0 ** ((1e9 - state.popularity.at) / week))
    assert gained[10] / gained[2] == pytest.approx(2.0 ** (-DAY / week))
    assert gained[6] == 0.0, "a skip is no vote"


def test_a_row_follows_the_clicks_as_fold_in_does(bundle: Bundle, log: SqliteLog):
    state = folded(bundle, log)
    stranger = state.users.find("stranger")
    row = state.profiles.of(stranger)
    clicked = torch.tensor([10, state.videos.find("new")])
    # the closed form itself, over the same rows
    videos = state.index.rows[clicked]
    gram = 0.1 * bundle.video.T @ bundle.video + torch.eye(bundle.manifest.dim)
    assert torch.allclose(row, torch.linalg.solve(gram + videos.T @ videos, videos.sum(0)), atol=1e-5)
    known = state.profiles.of(1)
    assert not torch.equal(known, bundle.user[1])
    assert float(known @ bundle.video[2]) > float(bundle.user[1] @ bundle.video[2]), "it moves towards the click"
    assert torch.equal(state.profiles.of(3), bundle.user[3]), "without clicks a row stays as it was trained"
    assert state.profiles.refresh(100) == 0


def test_the_same_entries_give_the_same_hash_however_they_are_folded(bundle: Bundle, log: SqliteLog, tmp_path: Path):
    whole = folded(bundle, log)
    steps = State(bundle)
    while steps.catch_up(log, limit=2):
        pass
    assert state_hash(steps) == state_hash(whole)
    assert torch.allclose(steps.index.rows, whole.index.rows, atol=1e-6)
    steps.fold(log.read())  # entries below seq are passed over
    assert state_hash(steps) == state_hash(whole)
    half = State(bundle)
    half.catch_up(log, limit=6)
    write_snapshot(half, log.identity, tmp_path / "snapshot")
    again = restore(bundle, log.identity, tmp_path / "snapshot")
    assert state_hash(again) == state_hash(half) != state_hash(whole)
    again.catch_up(log)
    assert state_hash(again) == state_hash(whole)
    assert torch.equal(again.index.hidden, whole.index.hidden)
    assert torch.equal(again.profiles.of(1), whole.profiles.of(1))
    log.append([Event("12", "skip", 1e9, {"user": "3", "video": "3"})])
    whole.catch_up(log)
    assert state_hash(again) != state_hash(whole)


def test_a_snapshot_of_another_bundle_or_log_or_a_damaged_one_is_refused(
    bundle: Bundle, log: SqliteLog, tmp_path: Path
):
    path = tmp_path / "snapshot"
    write_snapshot(folded(bundle, log), log.identity, path)
    with pytest.raises(StateError, match="belongs to"):
        restore(bundle, "another", path)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    with pytest.raises(StateError, match="not what was written"):
        restore(bundle, log.identity, path)
    with pytest.raises(FileNotFoundError):
        restore(bundle, log.identity, tmp_path / "none")


def test_filters_name_columns_of_old_and_new_videos(bundle: Bundle, log: SqliteLog):
    state = folded(bundle, log)
    odd = state.allowed({"tag": ["odd"]})
    assert odd.nonzero().flatten().tolist() == [*range(1, 24, 2), state.videos.find("bare")]
    both = state.allowed({"tag": ["odd", "even"], "title": ["title 4", "n"]})
    assert both.nonzero().flatten().tolist() == [4], "each column must hold; the new video has no tag"
    assert state.allowed({}) is None
    state.fold([])
    log.append([Event("13", "video", 1e9, {"video": "new", "columns": {"tag": ["even"], "title": "n"}})])
    state.catch_up(log)
    both = state.allowed({"tag": ["odd", "even"], "title": ["title 4", "n"]})
    assert both.nonzero().flatten().tolist() == [4, state.videos.find("new")], "a mask is made anew when columns change"
    assert state.columns.fit(4, {"tag": ["even"]})
    assert not state.columns.fit(4, {"tag": ["odd"]})
    assert state.columns.shared(4, state.videos.find("new")) == {"tag": ["even"]}
    with pytest.raises(KeyError):
        state.allowed({"colour": ["red"]})


def test_the_popular_list_is_of_the_last_window_and_never_holds_a_barred_video(bundle: Bundle, log: SqliteLog):
    state = State(bundle)
    state.publish(1e9)
    first = state.popular(24, np.empty(0, np.int64)).tolist()
    assert sorted(first) == list(range(24))
    assert first == sorted(range(24), key=lambda v: (-float(bundle.popularity[v]), v))
    state.catch_up(log)
    assert state.popularity.published_at == 1e9
    after = state.popular(5, np.array([first[0]])).tolist()
    assert after == [row for row in first[1:] if row not in (8, 12)][:5], "the same ranking, less what is barred"
    odd = state.popular(3, np.empty(0, np.int64), state.allowed({"tag": ["odd"]}))
    assert all(row % 2 for row in odd.tolist())
    state.publish(2e9)
    assert state.popular(1, np.empty(0, np.int64)).tolist() == [int(np.argmax(state.popularity.weight[:24]))]
    everything = state.popular(1000, np.empty(0, np.int64)).tolist()
    assert len(everything) == len(state.index) - 3
    assert not any(state.barred(row) for row in everything)


def test_similar_videos_by_cosine(bundle: Bundle, log: SqliteLog):
    state = folded(bundle, log)
    found = state.similar(2, 3)
    assert found[0] == (state.videos.find("new"), pytest.approx(1.0, abs=1e-5)), "the same looks"
    rows = torch.nn.functional.normalize(bundle.video, dim=1)
    wanted = (rows @ rows[2]).index_fill(0, torch.tensor([2, 8, 12]), -torch.inf).topk(2).indices
    assert [row for row, _ in found[1:]] == wanted.tolist()
    assert state.likeness(2, [2, 3])[0] == pytest.approx(1.0, abs=1e-5)


def test_features_that_the_bundle_does_not_read_make_a_video_popular_only(bundle: Bundle):
    state = State(bundle)
    state.apply(Event("1", "video", 1e9, {"video": "x", "features": {"smell": pack([1.0]), "visual": pack([1.0])}}))
    state.fold([])
    assert state.rowless == {state.videos.find("x")}
    assert state.index.hidden[state.videos.find("x")]
    assert unpack(pack([1.5, -2.0])).tolist() == [1.5, -2.0]


def test_a_bundle_without_a_cold_tower_shows_new_videos_as_popular(bundle: Bundle, looks: Looks):
    state = State(bundle)

    class Bare:
        cold = None
        manifest = bundle.manifest
        history = bundle.history
        user = bundle.user
        columns = bundle.columns
        video = bundle.video

    state.bundle = Bare()  # type: ignore[assignment]
    state.apply(Event("1", "video", 1e9, {"video": "x", "features": features(looks["odd"])}))
    state.fold([])
    assert state.videos.find("x") in state.rowless
    assert state.videos.find("x") in state.popular(100, np.empty(0, np.int64)).tolist()


@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("few", [0, 64])  # with sets beyond this many, and up to it
def test_the_index_equals_the_reference_while_it_grows_and_hides(queries: int, few: int, monkeypatch):
    monkeypatch.setattr("mmgraph.serve.index._FEW", few)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(50, 8, generator=generator)
    index = Index(table)
    alive = torch.ones(50, dtype=torch.bool)
    for step in range(60):
        kind = int(torch.randint(0, 4, (), generator=generator))
        row = int(torch.randint(0, len(table), (), generator=generator))
        if kind == 0:
            new = torch.randn(3, 8, generator=generator)
            assert index.append(new) == len(table)
            table, alive = torch.cat([table, new]), torch.cat([alive, torch.ones(3, dtype=torch.bool)])
        elif kind == 1:
            table = table.clone()
            table[row] = torch.randn(8, generator=generator)
            index.replace(row, table[row])
        else:
            alive = alive.clone()
            alive[row] = kind == 2
            (index.show if kind == 2 else index.hide)(row)
        asked = torch.randn(queries, 8, generator=generator)
        exclude = [np.array([step % len(table), row])] * queries
        allowed = torch.rand(len(table), generator=generator) < 0.8
        hidden = ~(alive & allowed).expand(queries, -1).clone()
        hidden[:, exclude[0]] = True
        found = index.search(asked, 7, exclude, allowed)
        best, rows = reference.topk(asked, table, 7, hidden)
        lists = [[row for row in line if row >= 0] for line in rows.tolist()]
        assert [[row for row, _ in line] for line in found] == lists
        for line, scores in zip(found, best, strict=True):
            assert [score for _, score in line] == pytest.approx(scores[: len(line)].tolist(), abs=1e-5)
