"""The server's bars, in one run on one machine: ``python -m benchmarks.serve --json OUT``.

Bundles of random rows (100,000 and 1,000,000 videos, width 64) are written to a temporary folder; the server is a
process of its own on loopback; clients are raw sockets in this one. ``--scale 0.1`` does a tenth of each count (the
catalogues stay), ``--only latency writes`` some of the parts. Every part gives rows ``{"bar", "value", "limit",
"holds"}``; the file also says what machine it was and how busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.ops.rows import machine
from mmgraph import __version__
from mmgraph.bundle import FoldIn, Manifest, Modality, TowerFacts, load
from mmgraph.bundle.folder import seal, writing
from mmgraph.bundle.students import ContentStudent
from mmgraph.bundle.towers import RidgeTower, Tower, write_tower
from mmgraph.bundle.writing import write_history, write_ids, write_tables
from mmgraph.ops import TopKIndex
from mmgraph.serve.log import SqliteLog
from mmgraph.serve.server import ServeConfig, serve
from mmgraph.serve.snapshot import restore, state_hash
from mmgraph.serve.state import State

DIM, K, USERS, SEEN = 64, 20, 5_000, 20


@dataclass
class Report:
    """Rows of bars and further figures."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def bar(self, name: str, value: float, limit: float, holds: bool | None = None) -> None:
        """Notes one; by default it holds where the value is at most the limit."""
        kept = bool(value <= limit) if holds is None else bool(holds)
        row = {"bar": name, "value": round(float(value), 6), "limit": limit, "holds": kept}
        self.rows.append(row)
        print(f"{'holds' if kept else 'FAILS':6} {name}: {row['value']:g} (limit {limit:g})", flush=True)


# -- bundles ---------------------------------------------------------------------------------------


def rows_of(count: int, seed: int) -> torch.Tensor:
    """Vectors of varying length, as trained tables have them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=generator) * (0.5 + torch.rand(count, 1, generator=generator))


def make_bundle(folder: Path, videos: int, users: int = USERS) -> Path:
    """A bundle of random rows; a new video's features are its row, up to scale."""
    rng = np.random.default_rng(0)
    user, video = rows_of(users, 1), rows_of(videos, 2)
    met = np.sort(rng.integers(0, videos, (users, SEEN)), axis=1)
    identity = ContentStudent([torch.zeros(DIM)], [torch.ones(DIM)], torch.eye(DIM + 1, DIM) * 16.0, torch.zeros(DIM))
    example = [torch.zeros(3, DIM), torch.ones(3, dtype=torch.bool)]
    with writing(folder, replace=True) as place:
        write_tables(place, user, video, torch.from_numpy(rng.exponential(size=videos)), torch.zeros(videos).byte())
        write_history(place, np.arange(users + 1) * SEEN, met.ravel(), np.tile(np.arange(SEEN, dtype=float), users))
        ids = pl.Series("id", [f"v{i}" for i in range(videos)])
        tags = pl.Series("tag", [["even"] if i % 2 == 0 else ["odd"] for i in range(videos)])
        write_ids(place, pl.Series([f"u{i}" for i in range(users)]), pl.DataFrame([ids, tags]))
        write_tower(identity, example, [{0: "batch"}] * 2, place / "towers/cold", onnx=False)
        inputs = (f"visual [B, {DIM}] float32", "visual present [B] bool")
        cold = TowerFacts(kind="own", inputs=inputs, output=f"[B, {DIM}] float32")
        about = {"mmgraph": __version__, "created": time.time(), "name": "random", "model": "Random"}
        sizes = {"users": users, "videos": videos, "dim": DIM}
        moment = {"half_life": 7 * 86_400.0, "popularity_at": time.time(), "fold_in": FoldIn(method="ridge")}
        kinds: dict[str, Any] = {"kind": "factors", "cold": cold, "modalities": {"visual": Modality(dim=DIM)}}
        seal(place, Manifest(**about, **sizes, **moment, **kinds))
    return folder


# -- the server as a process ------------------------------------------------------------------------


class Child:
    """A server process over a bundle and a log.

    Args:
        bundle, log: where they lie.
        settings: of :class:`ServeConfig`.
    """

    def __init__(self, bundle: Path, log: Path, **settings: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        given = {"bundle": str(bundle), "log": str(log), "port": self.port, **settings}
        self.began = time.perf_counter()
        words = [sys.executable, "-m", "benchmarks.serve", "--child", json.dumps(given)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        self.ready = self._wait()

    def _wait(self) -> float:
        while time.perf_counter() - self.began < 120:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            try:
                if asyncio.run(ask(self.port, "GET", "/readyz"))[0] == 200:
                    return time.perf_counter() - self.began
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError("the server is not ready after two minutes")

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """MiB in use."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ends it as an operator does."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def child(bundle: Path, log: Path, **settings: Any) -> Iterator[Child]:
    """A server that ends with the block."""
    running = Child(bundle, log, **settings)
    try:
        yield running
    finally:
        running.stop()


class Connection:
    """One HTTP/1.1 connection that is kept open: as little work in the client as can be."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body."""
        if self.writer is None or self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        sent = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
        if body is not None:
            head += f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + sent)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        status = int(answer[9:12])
        lower = answer.lower()
        at = lower.find(b"content-length: ")
        size = int(lower[at + 16 : lower.index(b"\r", at)]) if at >= 0 else 0
        return status, await self.reader.readexactly(size)

    def close(self) -> None:
        """Ends it."""
        if self.writer is not None:
            self.writer.close()


async def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = Connection(port)
    try:
        return await connection.ask(method, path, body)
    finally:
        connection.close()


async def load_on(port: int, clients: int, requests: int, path: Callable[[int], str]) -> tuple[list[float], int]:
    """Seconds of each request, and how many were not answered by 200."""
    seconds: list[float] = []
    failed, turn = 0, 0

    async def client() -> None:
        nonlocal failed, turn
        connection = Connection(port)
        while turn < requests:
            turn += 1
            began = time.perf_counter()
            status, _ = await connection.ask("GET", path(turn))
            seconds.append(time.perf_counter() - began)
            failed += status != 200
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds, failed


def list_path(turn: int) -> str:
    """Where the list of some user is."""
    return f"/v1/recommendations/u{turn % USERS}?k={K}"


async def under_load(port: int, clients: int, work: Callable[[], Awaitable[None]]) -> tuple[int, int]:
    """Does work while clients ask without a pause; how often they asked, and failed."""
    ended = False
    asked = failed = 0

    async def client(number: int) -> None:
        nonlocal asked, failed
        connection = Connection(port)
        while not ended:
            status, _ = await connection.ask("GET", list_path(number * 977 + asked))
            asked += 1
            failed += status != 200
        connection.close()

    tasks = [asyncio.create_task(client(number)) for number in range(clients)]
    try:
        await work()
    finally:
        ended = True
        await asyncio.gather(*tasks)
    return asked, failed


# -- the parts --------------------------------------------------------------------------------------


def latency(report: Report, folder: Path, scale: float) -> None:
    """p99 over HTTP, and lists equal to an exact ranking in float64."""
    for videos, clients, count in ((100_000, 8, 4000), (1_000_000, 1, 1000)):
        bundle = make_bundle(folder / f"b{videos}", videos)
        # without a deadline: the popular list would cut the figure off at 100 ms
        with child(bundle, folder / f"log{videos}", deadline_ms=60_000.0) as running:
            asyncio.run(load_on(running.port, clients, 200, list_path))
            used, requests = running.cpu(), max(100, round(count * scale))
            seconds, failed = asyncio.run(load_on(running.port, clients, requests, list_path))
            name = f"{videos:,} videos, {clients} connections"
            p50, p99 = (1000 * float(np.quantile(seconds, q)) for q in (0.5, 0.99))
            report.bar(f"p99 over HTTP, ms ({name})", p99, 100.0)
            cpu = 1000 * (running.cpu() - used) / requests
            report.details[f"latency, {name}"] = {"p50_ms": p50, "cpu_ms_a_request": cpu, "failed": failed}
            report.details[f"resident MiB, {videos:,} videos"] = running.resident()
            if videos == 100_000:
                report.bar("ready after, s (100,000 videos)", running.ready, 5.0)
                equal_lists(report, running, bundle, max(50, round(1000 * scale)))


def equal_lists(report: Report, running: Child, folder: Path, users: int) -> None:
    """The server's lists against float64 products over everything, seen videos left out."""
    made = load(folder)
    assert made.user is not None
    video = made.video.double().numpy()

    async def lists() -> list[list[int]]:
        connection, out = Connection(running.port), []
        for user in range(users):
            _, body = await connection.ask("GET", list_path(user))
            out.append([int(item["video"][1:]) for item in json.loads(body)["items"]])
        connection.close()
        return out

    equal = 0
    for user, found in enumerate(asyncio.run(lists())):
        scores = video @ made.user[user].double().numpy()
        scores[made.history.of(user)[0]] = -np.inf
        wanted = np.argsort(-scores, kind="stable")[:K]
        # float32 may order what differs by less than its rounding either way
        near = len(found) == K and np.allclose(scores[found], scores[wanted], rtol=1e-6, atol=1e-5)
        equal += near and len(set(found)) == K
    report.bar(f"lists that differ from the exact ranking, of {users:,} users", users - equal, 0)


def cpu_of(work: Callable[[], Any], times: int) -> float:
    """Median seconds of this thread's processor time."""
    work()
    out = []
    for _ in range(times):
        began = time.thread_time()
        work()
        out.append(time.thread_time() - began)
    return float(np.median(out))


def search(report: Report, folder: Path, scale: float) -> None:
    """Processor time a user at a million videos against faiss Flat and numpy, one thread."""
    import faiss

    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    video, user = rows_of(1_000_000, 2), rows_of(64, 1)
    index = TopKIndex(video)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(video.numpy())
    rows, times = video.numpy(), max(3, round(15 * scale))

    def numpy_best() -> None:
        scores = rows @ user[0].numpy()
        best = np.argpartition(-scores, 100)[:100]
        best[np.argsort(-scores[best])]

    ours = {size: cpu_of(lambda size=size: index.search(user[:size], 100), times) / size for size in (1, 8, 32)}
    theirs = cpu_of(lambda: flat.search(user[:1].numpy(), 100), times)
    plain = cpu_of(numpy_best, times)
    report.details["cpu ms a user, 1,000,000 videos, k = 100"] = {
        **{f"mmgraph, {size} at once": 1000 * value for size, value in ours.items()},
        "faiss Flat": 1000 * theirs,
        "numpy": 1000 * plain,
    }
    report.bar("cpu a user at 1 M, 32 at once, of faiss Flat's", ours[32] / theirs, 0.2)
    report.bar("cpu a user at 1 M, one at a time, of numpy's", ours[1] / plain, 0.6)


ECHO = """
import json, sys, uvicorn
body = json.dumps({"user": "u1", "items": [{"video": f"v{i}", "score": i / 7, "source": "model"} for i in range(20)]})
body = body.encode()
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off")
"""


def overhead(report: Report, folder: Path, scale: float) -> None:
    """Processor time of a request beyond the search, of a bare ASGI application's that sends as much.

    Both run at once and are asked in turns, a few hundred requests each; the search is timed between them at the size
    of batch met. The bar is the median over the turns, so that what else the machine does meets all three alike.
    """
    bundle, turns, requests = make_bundle(folder / "small", 1000), max(5, round(24 * scale)), 400
    made = State(load(bundle))
    assert made.bundle.user is not None
    queries, met = list(made.bundle.user[:8]), [made.profiles.seen(user) for user in range(8)]
    rows: list[tuple[float, float, float, float]] = []

    def spent(port: int, process: int) -> float:
        before = _cpu(process)
        asyncio.run(load_on(port, 8, requests, list_path))
        return sum(seconds - before.get(thread, 0.0) for thread, seconds in _cpu(process).items()) / requests

    def searched(size: float) -> float:
        low = min(int(size), len(queries) - 1)
        costs = [cpu_of(lambda n=n: made.search(queries[:n], K, met[:n]), 20) for n in (low, low + 1)]
        return (costs[0] + (size - low) * (costs[1] - costs[0])) / size

    with child(bundle, folder / "small.log", deadline_ms=60_000.0) as running, bare_asgi() as (port, bare):
        video = {"features": {"visual": [0.0] * DIM}}  # the towers are read beside the first answers: wait for them
        while asyncio.run(ask(running.port, "PUT", "/v1/videos/first", video))[0] > 201:
            pass
        for _ in range(turns + 1):
            before = _status(running.port)
            ours = spent(running.port, running.process.pid)
            after = _status(running.port)
            asked, batches = (after[name] - before[name] for name in ("questions_total", "batches_total"))
            rows.append((ours, asked / batches, searched(asked / batches), spent(port, bare)))
    server, size, search, echo = np.array(rows[1:]).T  # the first turn warms both up
    report.details["cpu µs a request, 1,000 videos, 8 connections"] = {
        "server": 1e6 * float(np.median(server)),
        "of that the search": 1e6 * float(np.median(search)),
        "questions a batch": float(np.median(size)),
        "bare ASGI": 1e6 * float(np.median(echo)),
        "turns": turns,
    }
    ratio = float(np.median((server - search) / echo))
    report.bar("cpu of a request beyond the search, of a bare ASGI application's", ratio, 4.0)


@contextmanager
def bare_asgi() -> Iterator[tuple[int, int]]:
    """An application that always sends the same, as a process: its port and its number."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    echo = subprocess.Popen([sys.executable, "-c", ECHO, str(port)])
    try:
        for _ in range(200):
            try:
                asyncio.run(ask(port, "GET", "/"))
                break
            except OSError:
                time.sleep(0.05)
        yield port, echo.pid
    finally:
        echo.terminate()
        echo.wait()


def _status(port: int) -> dict[str, Any]:
    return json.loads(asyncio.run(ask(port, "GET", "/v1/status"))[1])


def _cpu(pid: int) -> dict[str, float]:
    """Seconds of processor time of each thread that a process has now, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {thread.name: int((thread / "schedstat").read_text().split()[0]) / 1e9 for thread in threads}


def writes(report: Report, folder: Path, scale: float) -> None:
    """New, hidden, deleted and seen videos in the very next answer, under load."""
    bundle, turns = make_bundle(folder / "w", 100_000), max(20, round(1000 * scale))
    made = load(bundle)
    assert made.user is not None
    wrong = dict.fromkeys(("new", "hidden", "deleted", "seen"), 0)
    waited: list[float] = []

    async def work(port: int) -> None:
        connection = Connection(port)

        async def ids(user: int) -> list[str]:
            status, body = await connection.ask("GET", list_path(user))
            assert status == 200, body
            return [item["video"] for item in json.loads(body)["items"]]

        for turn in range(turns):
            user = turn % USERS
            like = made.user[user].tolist() if made.user is not None else []
            began = time.perf_counter()
            await connection.ask("PUT", f"/v1/videos/n{turn}", {"features": {"visual": like}})
            found = await ids(user)
            waited.append(time.perf_counter() - began)
            wrong["new"] += f"n{turn}" not in found[:3]
            gone = found[1] if found[0] == f"n{turn}" else found[0]
            await connection.ask(
                "POST", "/v1/events", {"events": [{"type": "skip", "user": f"u{user}", "video": gone}]}
            )
            wrong["seen"] += gone in await ids(user)
            await connection.ask("PATCH", f"/v1/videos/n{turn}", {"hidden": True})
            found = await ids(user)
            wrong["hidden"] += f"n{turn}" in found
            await connection.ask("DELETE", f"/v1/videos/{found[0]}")
            wrong["deleted"] += found[0] in await ids(user)
        connection.close()

    with child(bundle, folder / "w.log", deadline_ms=60_000.0) as running:
        asked, failed = asyncio.run(under_load(running.port, 4, lambda: work(running.port)))
    for name, count in wrong.items():
        report.bar(f"{name} videos wrong in the next answer, of {turns:,} under load", count, 0)
    report.bar("from a write to the answer that counts it, p99, s", float(np.quantile(waited, 0.99)), 1.0)
    report.details["writes"] = {"asked meanwhile": asked, "failed": failed, "p50_s": float(np.median(waited))}


def kills(report: Report, folder: Path, scale: float) -> None:
    """kill -9 again and again while events and videos are written."""
    bundle, log, turns = make_bundle(folder / "k", 100_000), folder / "k.log", max(3, round(20 * scale))
    acknowledged: set[str] = set()
    ready: list[float] = []
    rng = np.random.default_rng(0)
    number = 0

    async def write(port: int, until: float) -> None:
        nonlocal number
        connection = Connection(port)
        while time.perf_counter() < until:
            number += 1
            names = [f"e{number}-{i}" for i in range(5)]
            events = [
                {"id": name, "type": "click", "user": f"u{number % 50}", "video": f"v{(number * 7 + i) % 100_000}"}
                for i, name in enumerate(names)
            ]
            status, _ = await connection.ask("POST", "/v1/events", {"events": events})
            if status == 202:
                acknowledged.update(names)
        connection.close()

    for _ in range(turns):
        running = Child(bundle, log, snapshot_every=300)
        ready.append(running.ready)
        victim = running

        async def turn(victim: Child = victim) -> None:
            until = time.perf_counter() + float(rng.uniform(0.3, 1.0))
            writers = [asyncio.create_task(write(victim.port, until + 5)) for _ in range(4)]
            await asyncio.sleep(until - time.perf_counter())
            victim.kill()
            await asyncio.gather(*writers, return_exceptions=True)

        asyncio.run(turn())
    with SqliteLog(log) as there:
        entries = there.read(limit=10**7)
        ids = [entry.event.id for entry in entries]
        lost, double = len(acknowledged - set(ids)), len(ids) - len(set(ids))
        made = load(bundle)
        whole = State(made)
        whole.fold(entries)
        snapshot = log.with_name(log.name + ".snapshot")
        resumed = restore(made, there.identity, snapshot) if snapshot.exists() else State(made)
        place = resumed.seq
        resumed.catch_up(there)
        # an uninterrupted run: the same events in one log that was never killed
        with SqliteLog(folder / "calm.log", durability="normal") as calm:
            calm.append([entry.event for entry in entries])
            straight = State(made)
            straight.catch_up(calm)
    report.bar(f"acknowledged events lost in {turns} kill -9", lost, 0)
    report.bar(f"events counted twice in {turns} kill -9", double + abs(whole.interactions - len(ids)), 0)
    hashes = {state_hash(state) for state in (whole, resumed, straight)}
    report.bar("state hashes beside that of an uninterrupted run", len(hashes) - 1, 0)
    report.bar("ready again after kill -9, slowest, s (100,000 videos)", max(ready), 5.0)
    figures: dict[str, float] = {"events": len(ids), "acknowledged": len(acknowledged), "snapshot at": place}
    began = time.perf_counter()
    State(made).fold(entries)
    figures["events folded a second"] = len(entries) / max(time.perf_counter() - began, 1e-9)
    report.details["kills"] = figures


def full_disk(report: Report, folder: Path, scale: float) -> None:
    """A log that may not grow: reads go on, writes are refused, nothing is torn."""
    bundle, log = make_bundle(folder / "f", 10_000), folder / "f.log"
    statuses: list[int] = []
    accepted = 0
    with child(bundle, log, max_log_bytes=256 * 1024) as running:

        async def fill() -> tuple[int, list[int]]:
            taken, connection = 0, Connection(running.port)
            for turn in range(5000):
                events = [
                    {"type": "click", "user": f"u{i}", "video": f"v{turn}", "id": f"{turn}-{i}"} for i in range(20)
                ]
                status, _ = await connection.ask("POST", "/v1/events", {"events": events})
                statuses.append(status)
                if status != 202:
                    break
                taken += 20
            reads = [(await connection.ask("GET", list_path(user)))[0] for user in range(50)]
            again, _ = await connection.ask("POST", "/v1/events", {"events": events})
            statuses.append(again)
            connection.close()
            return taken, reads

        accepted, reads = asyncio.run(fill())
    with sqlite3.connect(log) as db:
        whole = db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        stored = db.execute("SELECT count(*) FROM events").fetchone()[0]
    db.close()
    report.bar("full disk: refused writes not answered 507", sum(s not in (202, 507) for s in statuses), 0)
    report.bar("full disk: reads that failed", sum(status != 200 for status in reads), 0)
    report.bar("full disk: events torn or lost", abs(stored - accepted) + (not whole) + (statuses[-1] != 507), 0)


def reloads(report: Report, folder: Path, scale: float) -> None:
    """The bundle read anew again and again under load."""
    bundle, turns = make_bundle(folder / "r", 100_000), max(5, round(50 * scale))
    resident: list[float] = []
    refused = 0

    async def work(running: Child) -> None:
        nonlocal refused
        connection = Connection(running.port)
        for _ in range(turns):
            status, _ = await connection.ask("POST", "/v1/models:reload", {})
            refused += status != 200
            resident.append(running.resident())
        connection.close()

    with child(bundle, folder / "r.log", deadline_ms=60_000.0) as running:
        asked, failed = asyncio.run(under_load(running.port, 2, lambda: work(running)))
    report.bar(f"failed answers in {turns} reloads under load", failed + refused, 0)
    # the first two have not yet met the memory that a second bundle beside the first one takes
    first, last = float(np.median(resident[2:5])), float(np.median(resident[-3:]))
    report.bar("memory after the reloads, growth", last / first - 1, 0.05)
    report.details["reloads"] = {"asked meanwhile": asked, "MiB": [round(r) for r in resident[:: max(1, turns // 10)]]}


def keys(report: Report, folder: Path, scale: float) -> None:
    """Writes without a key, or with one that may only read."""
    bundle, path = make_bundle(folder / "a", 1000), folder / "keys"
    path.write_text("read reader-0123456789abcdef\n")
    done = 0
    with child(bundle, folder / "a.log", api_key_file=str(path)) as running:
        requests = [
            ("PUT", "/v1/videos/x", {}),
            ("POST", "/v1/videos", {"videos": [{"video": "x"}]}),
            ("PATCH", "/v1/videos/v1", {"hidden": True}),
            ("DELETE", "/v1/videos/v1", None),
            ("POST", "/v1/events", {"events": [{"type": "click", "user": "u1", "video": "v1"}]}),
            ("POST", "/v1/models:reload", {}),
        ]
        done = sum(asyncio.run(ask(running.port, *request))[0] != 401 for request in requests)
    with SqliteLog(folder / "a.log") as log:
        report.bar("writes done without a key", done + log.last(), 0)


def towers(report: Report, folder: Path, scale: float) -> None:
    """.pt2 to the bit and ONNX within 1e-5, of a matrix and of the ridge over 50 videos."""
    import onnxruntime

    generator = torch.Generator().manual_seed(3)
    linear = ContentStudent(
        [torch.zeros(DIM)],
        [torch.ones(DIM)],
        torch.randn(DIM + 1, DIM, generator=generator) / 8,
        torch.zeros(DIM),
    )
    video = rows_of(20_000, 2)
    gram = video.T @ video
    inputs = {
        "linear": [torch.randn(7, DIM, generator=generator), torch.rand(7, generator=generator) < 0.8],
        "ridge": [video[:350].view(7, 50, DIM), torch.rand(7, 50, generator=generator) < 0.8, torch.zeros(7, DIM)],
    }
    modules: dict[str, tuple[Any, Any]] = {
        "linear": (linear, None),
        "ridge": (RidgeTower(gram, 1.0, 0.1), RidgeTower(gram, 1.0, 0.1, products=True)),
    }
    free = {"linear": [{0: "batch"}] * 2, "ridge": [{0: "batch", 1: "steps"}] * 2 + [{0: "batch"}]}
    differ, worst = 0, 0.0
    for name, (module, products) in modules.items():
        write_tower(module, inputs[name], free[name], folder / name, onnx=True, onnx_module=products)
        with torch.no_grad():
            wanted = module(*inputs[name])
        differ += not torch.equal(Tower(folder / f"{name}.pt2")(*inputs[name]), wanted)
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
        given = {i.name: t.numpy() for i, t in zip(session.get_inputs(), inputs[name], strict=True)}
        found: Any = session.run(None, given)[0]
        worst = max(worst, float(np.abs(found - wanted.numpy()).max()))
    report.bar(".pt2 towers that differ from the module", differ, 0)
    report.bar("ONNX towers, largest difference", worst, 1e-5)


def reading(report: Report, folder: Path, scale: float) -> None:
    """What reading a bundle costs: time, memory, modules. Stated, no bar."""
    bundle = make_bundle(folder / "m", 100_000)
    code = (
        "import json, sys, time\nbegan = time.perf_counter()\nfrom mmgraph.bundle import load\n"
        "imported = time.perf_counter()\nmade = load(sys.argv[1])\nmade.recommend(['u1'])\n"
        "from mmgraph.serve.metrics import resident_bytes\n"
        "names = ('torch_geometric', 'transformers', 'mmgraph.models', 'mmgraph.nn', 'mmgraph.train')\n"
        "heavy = [n for n in names if n in sys.modules]\n"
        "print(json.dumps({'import_s': imported - began, 'load_and_rank_s': time.perf_counter() - imported, "
        "'MiB': resident_bytes() / 2**20, 'modules': len(sys.modules), 'training code': heavy}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True)
    report.details["reading a bundle of 100,000 videos"] = json.loads(done.stdout)


def contract(report: Report, folder: Path, scale: float) -> None:
    """schemathesis on the OpenAPI document."""
    bundle, examples = make_bundle(folder / "s", 1000), max(10, round(80 * scale))
    with child(bundle, folder / "s.log", deadline_ms=60_000.0) as running:
        words = ["run", f"http://127.0.0.1:{running.port}/openapi.json", "--max-examples", str(examples), "--no-color"]
        program = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
        done = subprocess.run(
            [sys.executable, "-c", program, *words, "--continue-on-failure", "--seed", "1"],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
    cases = next((line.strip() for line in done.stdout.splitlines() if "generated" in line), "none")
    report.details["schemathesis"] = cases
    if done.returncode:
        report.details["schemathesis output"] = done.stdout[-3000:]
    report.bar("schemathesis: 5xx or undocumented answers", float(done.returncode != 0), 0)


PARTS: dict[str, Callable[[Report, Path, float], None]] = {
    part.__name__: part
    for part in (search, latency, overhead, writes, kills, full_disk, reloads, keys, towers, reading, contract)
}


def main() -> None:
    """Runs the parts that were asked for and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts, not the catalogues")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), help="these parts")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        settings = json.loads(given.child)
        paths = {name: Path(settings[name]) for name in ("bundle", "log", "api_key_file") if name in settings}
        serve(ServeConfig(**{**settings, **paths}), announce=lambda _: None)
        return
    torch.set_num_threads(1)
    report = Report()
    before = os.getloadavg()[0]
    for name, part in PARTS.items():
        if given.only and name not in given.only:
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="mmgraph-serve-") as folder:
            part(report, Path(folder), given.scale)
        report.details[f"{name}, seconds"] = round(time.perf_counter() - began, 1)
    about = machine("cpu") | {"mmgraph": __version__, "load_before": before, "scale": given.scale}
    if given.json:
        given.json.write_text(json.dumps({"about": about, "rows": report.rows, "details": report.details}, indent=1))
    for name, value in report.details.items():
        print(f"{name}: {value}")
    raise SystemExit(not all(row["holds"] for row in report.rows))


if __name__ == "__main__":
    main()
