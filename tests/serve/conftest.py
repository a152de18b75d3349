"""Fixtures of the server's tests: a log of each kind, on loopback, in temporary folders."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


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
