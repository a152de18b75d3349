"""The commands around a server: export, ingest, replay, status; and a state as the next bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import mmgraph
from mmgraph.bundle import Bundle, load
from mmgraph.cli.app import app
from mmgraph.models import ContentMean
from mmgraph.serve.ingest import Ingested, ingest
from mmgraph.serve.log import Event, EventError, KafkaLog, RedisLog, SqliteLog
from mmgraph.serve.rebundle import rebundle
from mmgraph.serve.server import serve
from mmgraph.serve.snapshot import restore, state_hash, write_snapshot
from mmgraph.serve.state import State
from tests.serve.test_state import events
from tests.worlds import checkerboard


def command(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_export_and_replay_on_the_command_line(tmp_path: Path, bundle: Bundle, bundle_folder: Path, looks):
    graph = checkerboard()
    model = ContentMean(graph)
    model.solve(graph)
    from tests.bundle.test_bundle import dataset_of

    saved = mmgraph.save(model, tmp_path / "model", graph, dataset_of(graph))
    output = command("export", saved, "--out", tmp_path / "b")
    assert "24 users, 24 videos" in output
    exported = load(tmp_path / "b")
    assert exported.recommend(["3"], k=3) == bundle.recommend(["3"], k=3)
    assert exported.columns["tag"].to_list() == [["even"], ["odd"]] * 12, "tags of the dataset, to filter by"
    trainable = command("export", saved, "--out", tmp_path / "t", "--trainable", "--no-distil", "--json")
    assert json.loads(trainable)["training"] == {"learning_rate": 0.001, "batch_size": 2048, "weight_decay": 0.0}
    refused = CliRunner().invoke(app, ["export", str(saved), "--out", str(tmp_path / "b")])
    assert refused.exit_code == 1
    assert "--replace" in refused.output
    with SqliteLog(tmp_path / "log") as log:
        log.append(events(looks))
        wanted = State(bundle)
        wanted.catch_up(log)
    arguments = ("replay", tmp_path / "log", "--bundle", bundle_folder, "--json")
    first, second = (json.loads(command(*arguments)) for _ in range(2))
    assert first == second
    assert (first["hash"], first["seq"], first["videos"]) == (state_hash(wanted), 11, 27)
    made = json.loads(command(*arguments, "--out", tmp_path / "next"))
    assert load(tmp_path / "next").id == made["bundle"]


def test_a_state_as_the_next_bundle_goes_on_where_it_was(tmp_path: Path, bundle: Bundle, log_path: Path, looks):
    with SqliteLog(log_path) as log:
        log.append(events(looks))
        state = State(bundle)
        state.catch_up(log)
        made = rebundle(state, log.identity, tmp_path / "next")
        assert (made.manifest.log.identity, made.manifest.log.seq) == (log.identity, 11)
        again = State(made)
        assert again.catch_up(log) == 0, "what is in the bundle is not folded twice"
        assert again.users.raw == state.users.raw
        for name in ("hidden", "deleted", "nameless", "rowless"):
            assert getattr(again, name) == getattr(state, name), name
        assert torch.equal(again.index.rows, state.index.rows)
        assert torch.equal(again.index.hidden, state.index.hidden)
        for user in range(len(state.users)):
            row = state.profiles.of(user)
            assert row is None or torch.equal(again.profiles.of(user), row)
            assert sorted(again.profiles.seen(user).tolist()) == sorted(state.profiles.seen(user).tolist())
        assert again.columns.of(again.videos.find("new"), "title") == "n"
        assert again.allowed({"tag": ["odd"]}).tolist() == state.allowed({"tag": ["odd"]}).tolist()
        # what had no row yet gets one when it is described
        log.append([Event("d", "video", 1e9, {"video": "unheard", "features": looks_packed(looks)})])
        for one in (state, again):
            one.catch_up(log)
            row = one.videos.find("unheard")
            assert not one.barred(row)
            assert torch.allclose(one.index.rows[row], bundle.video[2], atol=1e-6)
        write_snapshot(again, log.identity, tmp_path / "snapshot")
        third = restore(made, log.identity, tmp_path / "snapshot")
        assert torch.equal(third.index.rows, again.index.rows)
        assert state_hash(third) == state_hash(again)


def looks_packed(looks) -> dict[str, str]:
    from mmgraph.serve.features import pack

    return {name: pack(values) for name, values in looks["even"].items()}


def test_ingest_of_a_file_takes_each_event_once(tmp_path: Path):
    lines = [{"id": str(i), "type": "click", "user": "u", "video": str(i), "time": 5.0} for i in range(1500)]
    path = tmp_path / "events.ndjson"
    path.write_text(
        "\n".join([*map(json.dumps, lines), "{broken", json.dumps(lines[0] | {"time": 1e13, "id": "late"})])
    )
    found = json.loads(command("ingest", path, "--log", tmp_path / "log", "--json"))
    assert (found["accepted"], found["duplicates"], found["seq"]) == (1500, 0, 1500)
    assert found["rejected"] == {"fields": 1, "future": 1}
    assert "line 1501" in found["examples"][0]
    assert "1,500 were there" in command("ingest", path, "--log", tmp_path / "log")
    done = Ingested()
    done.reject("here", EventError("fields", "/user", "missing"))
    assert done.examples == ["here: /user: missing"]


@pytest.mark.parametrize("kind", ["redis", "kafka"])
def test_ingest_of_a_stream_goes_on_from_where_it_committed(kind: str, request: pytest.FixtureRequest, tmp_path: Path):
    name = f"ingest-{kind}"
    address = request.getfixturevalue("redis_url" if kind == "redis" else "kafka_servers")
    source = RedisLog(address, name) if kind == "redis" else KafkaLog(address, name)
    where = f"{address}#{name}" if kind == "redis" else f"kafka://{address}/{name}"
    clicks = [Event(str(i), "click", 5.0, {"user": "u", "video": "v"}) for i in range(5)]
    source.append(clicks)
    with SqliteLog(tmp_path / "log") as log:
        assert ingest(where, log).accepted == 5
        done = ingest(where, log)
        assert (done.accepted, done.duplicates, done.seq) == (0, 0, 5), "nothing is read a second time"
        source.append([Event("ahead", "click", 1e14, {"user": "u", "video": "v"}), Event("6", "click", 5.0, {})])
        done = ingest(where, log)
        assert (done.accepted, dict(done.rejected)) == (1, {"future": 1})
        other = ingest(where, log, consumer="another")
        assert (other.accepted, other.duplicates) == (0, 6), "a consumer of its own reads all, and changes nothing"
        assert [e.event for e in log.read()][:5] == clicks
    source.close()


def test_status_of_a_server_and_of_none(serving: Callable, tmp_path: Path):
    running = serving()
    assert json.loads(command("status", running.url, "--json"))["videos"] == 24
    assert "behind_seconds" in command("status", running.url)
    refused = CliRunner().invoke(app, ["status", "http://127.0.0.1:9"])
    assert refused.exit_code == 1
    assert "no server at" in refused.output


def test_the_serve_command_says_where_and_refuses_what_it_cannot_do(
    bundle_folder: Path, log_path: Path, tmp_path: Path
):
    open_world = CliRunner().invoke(app, ["serve", str(bundle_folder), "--log", str(log_path), "--host", "0.0.0.0"])
    assert open_world.exit_code == 1
    assert "api-key-file" in open_world.output
    nothing = CliRunner().invoke(app, ["serve", str(tmp_path), "--log", str(log_path)])
    assert nothing.exit_code == 1
    assert "no bundle" in nothing.output
    assert callable(serve)
    words = ["serve", str(bundle_folder), "--log", str(log_path), "--port", "0", "--workers", "2"]
    process = subprocess.Popen([sys.executable, "-m", "mmgraph.cli", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    process.terminate()
    assert process.wait(30) in (0, -15, 143)
    process.stdout.close()
    assert "24 users, 24 videos" in lines[0]
    assert lines[1].startswith("http://127.0.0.1:")
