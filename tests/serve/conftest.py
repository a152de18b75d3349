"""Fixtures of the server's tests: a log of each kind, on loopback, in temporary folders."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from mmgraph.bundle import Bundle, export, load
from mmgraph.data import Dataset
from mmgraph.models import ContentMean
from mmgraph.serve.server import ServeConfig, listen, make_app, server
from tests.worlds import checkerboard


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real redis-server of this session alone; skipped where there is no such program."""
    program = shutil.which("redis-server")
    pytest.importorskip("redis", reason="the Redis log needs the package redis: pip install 'mmgraph[redis]'")
    if program is None:
        pytest.skip("no redis-server here: apt-get install redis-server to test the Redis log")
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--daemonize", "no"]
    server = subprocess.Popen(
        [program, *settings, "--appendonly", "yes", "--appendfsync", "always"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    import redis

    client = redis.Redis(port=port)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert server.poll() is None, "redis-server ended at once"
            time.sleep(0.05)
    client.close()
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """The address of confluent_kafka's own mock cluster, one broker."""
    kafka = pytest.importorskip("confluent_kafka", reason="the Kafka log needs pip install 'mmgraph[kafka]'")
    cluster = kafka.Producer({"bootstrap.servers": "x", "test.mock.num.brokers": 1})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{b.host}:{b.port}" for b in brokers)
    del cluster


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    """Where a test's log goes."""
    return tmp_path / "events.db"


SIZE = 24


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkerboard's content means: even users like even videos; new videos get a row from their features."""
    graph = checkerboard(SIZE)
    model = ContentMean(graph)
    model.solve(graph)
    user, video = graph.interactions()
    ids = list(range(SIZE))
    dataset = Dataset.from_frames(
        {"user": user.numpy(), "video": video.numpy()},
        users={"user_id": ids},
        videos={"video_id": ids, "title": [f"title {i}" for i in ids]},
        entities={"tag": pl.DataFrame({"video": ids, "tag": ["odd" if i % 2 else "even" for i in ids]})},
    )
    folder = tmp_path_factory.mktemp("serve") / "bundle"
    export(model, graph, dataset, folder)
    return folder


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    """That bundle, read."""
    return load(bundle_folder)


@pytest.fixture(scope="session")
def looks() -> dict[str, dict[str, list[float]]]:
    """Features of an even and of an odd video."""
    graph = checkerboard(SIZE)
    return {
        name: {m: graph.features(m).values[row].tolist() for m in graph.modalities}
        for name, row in (("even", 2), ("odd", 3))
    }


class Running:
    """A server in a thread of this process, on loopback, and a client of it.

    Args:
        config: how to serve; port 0.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.app = make_app(config)
        place = listen(config.host, 0)
        self.url = f"http://{config.host}:{place.getsockname()[1]}"
        self.server = server(self.app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [place]}, daemon=True)
        self.thread.start()
        self.client = httpx.Client(base_url=self.url, timeout=20)
        for _ in range(400):
            if self.app.engine.ready:
                break
            time.sleep(0.02)
        assert self.app.engine.ready, self.app.engine.failed

    def videos(self, user: str, **more: object) -> list[str]:
        """The ids recommended to a user."""
        found = self.client.post("/v1/recommendations", json={"user": user, **more})
        assert found.status_code == 200, found.text
        return [item["video"] for item in found.json()["items"]]

    def stop(self) -> None:
        """Ends the server."""
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def serving(bundle_folder: Path, log_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers over the bundle and the test's log; ends them afterwards."""
    started: list[Running] = []

    def start(**settings: Any) -> Running:
        settings = {"bundle": bundle_folder, "log": log_path, "deadline_ms": 5000.0, **settings}
        started.append(Running(ServeConfig(port=0, **settings)))
        return started[-1]

    yield start
    for one in started:
        if one.thread.is_alive():
            one.stop()
