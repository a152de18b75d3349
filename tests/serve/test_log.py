"""The event log: one order, each event once, nothing lost that was acknowledged; the same for every backend."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.serve.log import (
    Appended,
    Entry,
    Event,
    EventError,
    EventLog,
    KafkaLog,
    LogError,
    LogFullError,
    RedisLog,
    SqliteLog,
    derived_id,
    interaction,
)


def click(name: str, user: str = "u", video: str = "v", time: float = 1.0) -> Event:
    return Event(name, "click", time, {"user": user, "video": video})


@pytest.fixture(params=["sqlite", "redis", "kafka"])
def open_log(request: pytest.FixtureRequest, log_path: Path) -> Iterator[Callable[[], EventLog]]:
    """Opens the same log of one kind, any number of times."""
    opened: list[EventLog] = []
    name = f"log-{log_path.parent.name}"
    where = (
        None
        if request.param == "sqlite"
        else request.getfixturevalue({"redis": "redis_url"}.get(request.param, "kafka_servers"))
    )

    def make() -> EventLog:
        kinds: dict[str, Callable[[], EventLog]] = {
            "sqlite": lambda: SqliteLog(log_path),
            "redis": lambda: RedisLog(str(where), name),
            "kafka": lambda: KafkaLog(str(where), name),
        }
        opened.append(kinds[request.param]())
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def test_every_log_keeps_one_order_and_each_event_once(open_log: Callable[[], EventLog]):
    log = open_log()
    assert log.last() == 0
    assert log.read() == []
    first = log.append([click("a"), click("b"), click("a")])
    assert (first.accepted, first.duplicates) == (2, 1)
    again = log.append([click("b", video="other"), click("c", user="ü", video="视频")])
    assert (again.accepted, again.duplicates) == (1, 1)
    entries = log.read()
    assert [e.event.id for e in entries] == ["a", "b", "c"]
    assert [e.seq for e in entries] == sorted({e.seq for e in entries})
    assert entries[1].event.data == {"user": "u", "video": "v"}, "the first event of an id stays"
    assert entries[2].event == click("c", user="ü", video="视频")
    assert log.last() == entries[2].seq == again.seq
    assert [e.event.id for e in log.read(entries[0].seq, limit=1)] == ["b"]
    assert log.append([click("a")]) == Appended(entries[0].seq, 0, 1), "a duplicate answers with its first place"


def test_every_log_is_there_again_with_its_consumers_when_opened_anew(open_log: Callable[[], EventLog]):
    log = open_log()
    log.append([click("a"), click("b")])
    seqs = [e.seq for e in log.read()]
    log.commit("fold", seqs[1])
    log.commit("fold", seqs[0])
    other = open_log()
    assert other.append([click("b")]).accepted == 0
    assert other.committed("fold") == seqs[1], "a consumer never goes back"
    assert other.committed("stranger") == 0
    assert [e.event.id for e in other.read()] == ["a", "b"]


def test_calls_of_many_threads_are_numbered_without_gaps(log_path: Path):
    with SqliteLog(log_path) as log:
        done: list[tuple[str, int]] = []

        def write(name: int) -> None:
            done.extend((f"{name}-{i}", log.append([click(f"{name}-{i}")]).seq) for i in range(50))

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entries = log.read(limit=1000)
    assert [e.seq for e in entries] == list(range(1, 401))
    assert {e.event.id: e.seq for e in entries} == dict(done), "each call was told the place its event got"


def test_two_processes_may_write_one_file(log_path: Path):
    with SqliteLog(log_path) as one, SqliteLog(log_path) as two:
        assert one.append([click("a")]).seq == 1
        assert two.append([click("b")]).seq == 2
        assert two.append([click("a")]) == Appended(1, 0, 1)
        assert [e.event.id for e in one.read()] == ["a", "b"]
        assert one.identity == two.identity


WRITER = """
import sys
from mmgraph.serve.log import Event, SqliteLog
log = SqliteLog(sys.argv[1], durability=sys.argv[2])
size = int(sys.argv[3])
n = log.last()
while True:
    log.append([Event(str(n + i), "click", 1.0, {"user": "u", "video": str(n + i)}) for i in range(size)])
    n += size
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize(("durability", "size"), [("full", 1), ("normal", 200)])
def test_kill_9_loses_nothing_that_was_acknowledged(log_path: Path, durability: str, size: int):
    for kill in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(log_path), durability, str(size)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(20):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split("\n")
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1] if line)])
        writer.wait()
        writer.stdout.close()
        with SqliteLog(log_path) as log:
            ids = [int(e.event.id) for e in log.read(limit=10**6)]
            assert log.last() == len(ids) >= acknowledged, f"kill {kill}"
            assert ids == list(range(len(ids))), "no gap, no double"
            assert len(ids) % size == 0, "a call is stored whole or not at all"


def test_a_full_disk_refuses_writes_tears_nothing_and_goes_on_when_there_is_room(log_path: Path):
    with SqliteLog(log_path, max_bytes=64 * 1024) as log:
        stored = 0

        def fill() -> None:
            nonlocal stored
            for i in range(100):
                log.append([click(f"{i}-{j}", video="v" * 100) for j in range(20)])
                stored += 20

        with pytest.raises(LogFullError, match="no room for the log") as caught:
            fill()
        assert isinstance(caught.value, OSError)
        assert 0 < stored < 2000
        assert len(log.read(limit=10**6)) == log.last() == stored, "reading goes on; the refused call left nothing"
    with SqliteLog(log_path) as log:
        assert log.append([click("more")]).seq == stored + 1


def test_a_closed_log_and_a_file_of_another_kind_are_refused(log_path: Path):
    log = SqliteLog(log_path)
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.append([click("a")])
    log_path.with_name("text").write_bytes(b"this is no database at all, but long enough to look like one" * 20)
    with pytest.raises(LogError, match="no event log"):
        SqliteLog(log_path.with_name("text"))
    with sqlite3.connect(log_path) as db:
        db.execute("UPDATE about SET value = '9' WHERE name = 'format'")
    db.close()
    with pytest.raises(LogError, match="format 9"):
        SqliteLog(log_path)
    with pytest.raises(ValueError, match="durability"):
        SqliteLog(log_path, durability="some")  # type: ignore[arg-type]


def test_an_event_is_read_from_what_a_client_sends():
    now = 1_000_000.0
    event = interaction({"type": "like", "user": 7, "video": "v", "time": 5, "id": "e1", "value": 2}, now)
    assert event == Event("e1", "like", 5.0, {"user": "7", "video": "v", "value": 2.0})
    bare = interaction({"type": "click", "user": "7", "video": "v"}, now)
    assert (bare.time, bare.data) == (now, {"user": "7", "video": "v"})
    assert bare.id == derived_id("click", now, bare.data)
    assert interaction({"type": "click", "user": "u", "video": "v", "time": now + 300}, now).time == now + 300
    assert Entry(1, 2.0, event).event is event
    assert Event.decode(event.encode()) == event
    with pytest.raises(ValueError, match="no event"):
        Event.decode(b"[]")


@pytest.mark.parametrize(
    ("body", "kind", "pointer"),
    [
        ([], "fields", ""),
        ({"type": "click", "user": "u", "video": "v", "stars": 5}, "fields", "/stars"),
        ({"type": "buy", "user": "u", "video": "v"}, "fields", "/type"),
        ({"type": "click", "video": "v"}, "fields", "/user"),
        ({"type": "click", "user": "u", "video": ""}, "fields", "/video"),
        ({"type": "click", "user": True, "video": "v"}, "fields", "/user"),
        ({"type": "click", "user": "ü" * 257, "video": "v"}, "fields", "/user"),
        ({"type": "click", "user": "a\nb", "video": "v"}, "fields", "/user"),
        ({"type": "click", "user": "\ud800", "video": "v"}, "fields", "/user"),
        ({"type": "click", "user": "u", "video": "v", "time": float("nan")}, "fields", "/time"),
        ({"type": "click", "user": "u", "video": "v", "time": 10**400}, "fields", "/time"),
        ({"type": "click", "user": "u", "video": "v", "time": -1}, "fields", "/time"),
        ({"type": "click", "user": "u", "video": "v", "time": 1301.0}, "future", "/time"),
        ({"type": "click", "user": "u", "video": "v", "value": "5"}, "fields", "/value"),
        ({"type": "click", "user": "u", "video": "v", "id": 1.5}, "fields", "/id"),
    ],
)
def test_a_bad_event_names_the_field(body: object, kind: str, pointer: str):
    with pytest.raises(EventError) as caught:
        interaction(body, now=1000.0)
    assert (caught.value.kind, caught.value.pointer) == (kind, pointer)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "user", "video", "time", "id", "value", "x"]), inner, max_size=6)
        ),
        max_leaves=10,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_sent_is_an_event_or_an_event_error(body: object):
    try:
        event = interaction(body, now=1000.0)
    except EventError:
        return
    assert Event.decode(event.encode()) == event
