"""Raw media: what was accepted is encoded once, whatever dies in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmgraph.bundle import Bundle, export, load
from mmgraph.encoders import HashEncoder
from mmgraph.models import ContentMean
from mmgraph.serve.features import pack
from mmgraph.serve.log import Event, LogFullError, SqliteLog
from mmgraph.serve.media import (
    CONSUMER,
    MediaEncoder,
    MediaStore,
    NoEncoderError,
    bundle_encoder,
    encode_media,
    kind_of,
    media_folder,
)
from mmgraph.serve.server import ServeConfig, keep_encoding
from mmgraph.serve.state import State
from tests.bundle.test_bundle import dataset_of
from tests.serve.conftest import Running
from tests.worlds import checkerboard

ENCODER = HashEncoder(dim=32)
EVEN, ODD = "a cat plays the piano", "engines, gears and oil"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose videos are texts, even ones of one kind and odd ones of another."""
    graph = checkerboard(24, ("text",))
    graph["text"].x = ENCODER([f"{ODD if v % 2 else EVEN} {v}" for v in range(24)]).values
    model = ContentMean(graph)
    model.solve(graph)
    folder = tmp_path_factory.mktemp("media") / "bundle"
    export(model, graph, dataset_of(graph), folder, passports={"text": {"encoder": ENCODER.describe()}})
    return folder


def put(running: Running, video: str, text: str, **more: str):
    headers = {"content-type": "text/plain; charset=utf-8", **more}
    return running.client.put(f"/v1/videos/{video}/media?modality=text", content=text.encode(), headers=headers)


def encoder_of(running: Running, texts: Path) -> MediaEncoder:
    store = MediaStore(media_folder(running.app.log.path))
    return MediaEncoder(load(texts).manifest, running.app.log, store)


def test_a_text_is_encoded_and_the_video_recommended(serving: Callable[..., Running], texts: Path):
    running = serving(bundle=texts)
    running.client.put("/v1/videos/new", json={"title": "New"})
    assert put(running, "new", EVEN).json() == {"seq": 2, "video": "new", "modality": "text"}
    assert running.client.get("/v1/videos/new").json()["recommendable"] is False, "it waits"
    encoder = encoder_of(running, texts)
    assert encoder.work() == 1
    assert running.client.get("/v1/videos/new").json()["recommendable"] is True
    assert "new" in running.videos("0", k=3)
    assert running.videos("1", k=1) == ["1"]
    assert encoder.work() == 0
    assert list(encoder.store.folder.iterdir()) == [], "what was encoded is not kept"
    for _ in range(2):
        assert put(running, "new", ODD, **{"idempotency-key": "once"}).json()["seq"] == 4
    assert len(list(encoder.store.folder.iterdir())) == 1, "the same key is the same medium"
    encoder.work()
    assert "new" in running.videos("1", k=2)


@pytest.mark.parametrize(
    ("step", "kinds"), [("append", ["video", "media"]), ("commit", ["video", "media", "features"])]
)
def test_what_was_accepted_survives_whoever_dies(
    step: str, kinds: list[str], serving: Callable[..., Running], texts: Path, monkeypatch
):
    running = serving(bundle=texts)
    running.client.put("/v1/videos/new", json={})
    put(running, "new", EVEN)
    encoder = encoder_of(running, texts)
    before = running.app.log.committed(CONSUMER)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running.app.log, step, dies)
    with pytest.raises(KeyboardInterrupt):
        encoder.work()
    monkeypatch.undo()
    assert [entry.event.kind for entry in running.app.log.read()] == kinds
    assert running.app.log.committed(CONSUMER) == before
    running.stop()
    again = serving(bundle=texts)
    assert encoder_of(again, texts).work() == 1
    found = [entry.event.kind for entry in again.app.log.read()]
    assert found == ["video", "media", "features"], "encoded twice perhaps, counted once"
    assert "new" in again.videos("0", k=3)


def test_a_medium_that_cannot_be_read_holds_up_no_other(serving: Callable[..., Running], texts: Path):
    running = serving(bundle=texts)
    for name in ("a", "b"):
        running.client.put(f"/v1/videos/{name}", json={})
    put(running, "a", "   ")
    put(running, "b", ODD)
    assert encoder_of(running, texts).work() == 2
    failed = [entry.event.data for entry in running.app.log.read() if entry.event.kind == "media-failed"]
    assert [(data["video"], bool(data["why"])) for data in failed] == [("a", True)]
    assert "b" in running.videos("1", k=3)


def test_media_that_are_not_taken(serving: Callable[..., Running], texts: Path, bundle_folder: Path):
    running = serving(bundle=texts)
    url, plain = "/v1/videos/2/media?modality=text", {"content-type": "text/plain"}
    for path, body, headers, status in [
        (url, b"x", {"content-type": "application/json"}, 415),
        (url, b"x", {"content-type": "image/png"}, 409),
        ("/v1/videos/2/media?modality=smell", b"x", plain, 409),
        ("/v1/videos/2/media", b"x", plain, 409),
        (url, b"", plain, 422),
        ("/v1/videos/none/media?modality=text", b"x", plain, 404),
        (url, b"x" * (16 << 20) + b"x", plain, 413),
    ]:
        assert running.client.put(path, content=body, headers=headers).status_code == status, (path, headers)
    assert not media_folder(running.app.log.path).exists(), "nothing is kept of what was refused"
    assert running.app.log.last() == 0


def test_features_of_a_medium_stand_beside_those_sent(bundle: Bundle, looks):
    state, both = State(bundle), State(bundle)
    look = {name: pack(values) for name, values in looks["even"].items()}
    for at, name in enumerate(look):
        state.apply(Event(str(at), "features", 1e9, {"video": "x", "features": {name: look[name]}}))
        state.fold([])
    state.apply(Event("v", "video", 1e9, {"video": "x"}))
    state.fold([])
    both.apply(Event("v", "video", 1e9, {"video": "x", "features": look}))
    both.fold([])
    assert state.features == both.features
    assert torch.equal(state.index.rows[24], both.index.rows[24])
    state.apply(Event("f", "features", 1e9, {"video": "3", "features": look}))
    state.fold([])
    assert torch.equal(state.index.rows[3], bundle.video[3]), "one that was trained on keeps its row"


def test_the_encoder_is_the_one_of_the_passport_or_none(texts: Path, bundle: Bundle, tmp_path: Path):
    manifest = load(texts).manifest
    assert bundle_encoder(manifest, "text").describe() == ENCODER.describe()
    assert kind_of(ENCODER.describe()) == "text"
    assert kind_of({"name": "efficientnet-lite0"}) == "image"
    assert kind_of({"name": "of mine"}) is kind_of(None) is None
    with pytest.raises(NoEncoderError, match="send features"):
        bundle_encoder(bundle.manifest, "visual")
    other = manifest.modalities["text"].model_copy(
        update={"passport": {"encoder": {**ENCODER.describe(), "version": "0"}}}
    )
    with pytest.raises(NoEncoderError, match="another version"):
        bundle_encoder(manifest.model_copy(update={"modalities": {"text": other}}), "text")
    (tmp_path / "file").write_text("")
    with pytest.raises(LogFullError):
        MediaStore(tmp_path / "file" / "media").put(b"x")


def test_the_process_works_off_what_waits_and_ends_with_its_parent(texts: Path, log_path: Path, monkeypatch):
    store = MediaStore(media_folder(log_path))
    with SqliteLog(log_path) as log:
        log.append([Event("1", "media", 1e9, {"video": "x", "modality": "text", "file": store.put(EVEN.encode())})])
    parents = iter([7, 7, 1])
    monkeypatch.setattr("mmgraph.serve.media.os.getppid", lambda: next(parents))
    monkeypatch.setattr("mmgraph.serve.media._PAUSE", 0.0)
    encode_media(texts, log_path, "full", 7)
    assert list(parents) == []
    with SqliteLog(log_path) as log:
        assert [entry.event.kind for entry in log.read()] == ["media", "features"]
        assert log.committed(CONSUMER) == 2


def encoder_process(after: int | None = None) -> int:
    """The number of the process that encodes, once there is one other than ``after``."""
    for _ in range(2000):
        for process in multiprocessing.active_children():
            if process.name == "encoder" and process.pid not in (None, after):
                return process.pid
        time.sleep(0.01)
    raise AssertionError("no process encodes")


def test_a_killed_encoder_is_started_again_and_encodes_what_waits_once(serving: Callable[..., Running], texts: Path):
    running = serving(bundle=texts)
    running.client.put("/v1/videos/new", json={"title": "New"})
    put(running, "new", EVEN)
    ending = threading.Event()
    config = ServeConfig(texts, running.app.log.path)
    keeper = threading.Thread(target=keep_encoding, args=(config, ending), daemon=True)
    keeper.start()
    try:
        first = encoder_process()
        os.kill(first, signal.SIGKILL)  # it has no more than begun to import: the video waits
        second = encoder_process(after=first)
        asked = 0
        while not running.client.get("/v1/videos/new").json()["recommendable"]:
            assert len(running.videos("0", k=3)) == 3, "answers go on meanwhile"
            asked += 1
            assert asked < 20_000, "it was never encoded"
        assert asked > 0
        os.kill(second, signal.SIGKILL)
        third = encoder_process(after=second)
        assert len({first, second, third}) == 3
        put(running, "new", ODD)
        for _ in range(20_000):
            if running.app.log.committed(CONSUMER) >= 4:
                break
            assert running.client.get("/readyz").status_code == 200
    finally:
        ending.set()
        keeper.join(30)
    kinds = [entry.event.kind for entry in running.app.log.read()]
    assert kinds == ["video", "media", "features", "media", "features"], "each medium once"
    assert "new" in running.videos("1", k=2)
    assert list(media_folder(running.app.log.path).iterdir()) == []
    assert not [process for process in multiprocessing.active_children() if process.name == "encoder"]
