"""The embedded log: one SQLite file in WAL mode, durable when ``append`` returns."""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, NamedTuple

from mmgraph.serve.log.base import Appended, Entry, Event, LogError, LogFullError

BATCH = 1000  # events a commit at most
_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events(
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, time REAL NOT NULL, received REAL NOT NULL,
    data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS consumers(name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""


class _Job(NamedTuple):
    events: Sequence[Event]
    done: Future[Appended]


class SqliteLog:
    """An :class:`EventLog` in one file.

    One thread writes. It takes all that waits, up to 1,000 events, into one transaction: when calls come singly each
    commits at once, when they come faster than the disk syncs they share a commit. ``seq`` is 1, 2, 3, … without gaps.
    Several processes may have the file open and write; each sees what the others committed.

    Args:
        path: the file; made where it does not exist.
        durability: ``"full"`` syncs the disk at every commit: what was acknowledged survives a power cut.
            ``"normal"`` survives the death of the process, not always of the machine: the last commits may be missing
            then, and the file is whole.
        max_bytes: refuse to grow beyond it, as on a full disk.

    Raises:
        LogError: not a log, or of a later version.
    """

    def __init__(
        self, path: str | Path, *, durability: Literal["full", "normal"] = "full", max_bytes: int | None = None
    ) -> None:
        if durability not in ("full", "normal"):
            raise ValueError(f"durability is 'full' or 'normal', not {durability!r}")
        self.path, self.durability = Path(path), durability
        self._closed = False
        self._nothing: tuple[int, int] | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reading = threading.Lock()
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute(f"PRAGMA synchronous={durability.upper()}")
            if max_bytes is not None:
                page = self._writer.execute("PRAGMA page_size").fetchone()[0]
                self._writer.execute(f"PRAGMA max_page_count={max(1, max_bytes // page)}")
            tables = {name for (name,) in self._writer.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "about" not in tables:
                raise LogError(
                    f"{self.path} is another program's database (it holds {sorted(tables)}): name a new file"
                )
            self._writer.executescript(_SCHEMA)
            self._writer.execute("INSERT OR IGNORE INTO about VALUES('format', ?)", (str(_FORMAT),))
            self._writer.execute("INSERT OR IGNORE INTO about VALUES('log', ?)", (uuid.uuid4().hex,))
            about = dict(self._writer.execute("SELECT name, value FROM about"))
            self._reader = self._connect()
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error
        if int(about["format"]) > _FORMAT:
            raise LogError(f"{self.path} is a log of format {about['format']}; this version reads {_FORMAT}")
        self.identity = about["log"]
        """32 hex digits, made with the file: what a snapshot belongs to."""
        self._thread = threading.Thread(target=self._write, name="event-log", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)

    def submit(self, events: Sequence[Event]) -> Future[Appended]:
        """:meth:`append` without waiting: the future is done when the events are durable."""
        done: Future[Appended] = Future()
        if self._closed:
            done.set_exception(LogError(f"{self.path} is closed"))
        elif not events:
            done.set_result(Appended(0, 0, 0))
        else:
            self._jobs.put(_Job(events, done))
        return done

    def append(self, events: Sequence[Event]) -> Appended:
        """Stores what is new of these, all or none; see :meth:`EventLog.append`."""
        return self.submit(events).result()

    def read(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """The first ``limit`` entries with ``seq > after``, in order."""
        query = "SELECT seq, received, id, kind, time, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._reading:
            # a number that changes with every commit of another connection: most often nothing has happened
            version = self._ask("PRAGMA data_version")[0][0]
            if (version, after) == self._nothing:
                return []
            rows = self._ask(query, (after, limit))
            self._nothing = None if rows else (version, after)
        return [Entry(row[0], row[1], Event(row[2], row[3], row[4], json.loads(row[5]))) for row in rows]

    def last(self) -> int:
        """The highest ``seq``; 0 for an empty log."""
        with self._reading:
            return self._ask("SELECT max(seq) FROM events")[0][0] or 0

    def commit(self, consumer: str, seq: int) -> None:
        """Notes durably that a consumer is done with everything up to ``seq``; it never goes back."""
        query = "INSERT INTO consumers VALUES(?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"
        with self._reading:
            self._ask(query, (consumer, seq))

    def committed(self, consumer: str) -> int:
        """Where a consumer is; 0 for one that never committed."""
        with self._reading:
            found = self._ask("SELECT seq FROM consumers WHERE name = ?", (consumer,))
        return found[0][0] if found else 0

    def close(self) -> None:
        """Commits what was handed in, then closes the file."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        with self._reading:
            self._reader.close()
        self._writer.close()

    def __enter__(self) -> SqliteLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, query: str, values: tuple = ()) -> list[tuple]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def _write(self) -> None:
        left: _Job | None = None
        open_ = True
        while open_ or left is not None:
            job = left if left is not None else self._jobs.get()
            left = None
            if job is None:
                return
            batch, size = [job], len(job.events)
            while size < BATCH:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    open_ = False
                    break
                if size + len(more.events) > BATCH:
                    left = more
                    break
                batch.append(more)
                size += len(more.events)
            self._commit(batch)

    def _commit(self, batch: list[_Job]) -> None:
        try:
            done = self._insert(batch)
        except Exception as error:
            problem = _translated(error, self.path) if isinstance(error, sqlite3.Error) else error
            for job in batch:
                job.done.set_exception(problem)
            return
        for job, appended in zip(batch, done, strict=True):
            job.done.set_result(appended)

    def _insert(self, batch: list[_Job]) -> list[Appended]:
        db, now = self._writer, time.time()
        ids = json.dumps([event.id for job in batch for event in job.events])
        # encoded before the transaction: what cannot be is an error of the caller, and the file is not held up
        encoded = [[json.dumps(e.data, separators=(",", ":"), ensure_ascii=False) for e in job.events] for job in batch]
        db.execute("BEGIN IMMEDIATE")
        try:
            seq = db.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
            known = dict(db.execute("SELECT id, seq FROM events WHERE id IN (SELECT value FROM json_each(?))", (ids,)))
            rows, out = [], []
            for job, texts in zip(batch, encoded, strict=True):
                highest = accepted = 0
                for event, data in zip(job.events, texts, strict=True):
                    if event.id not in known:
                        seq += 1
                        accepted += 1
                        known[event.id] = seq
                        rows.append((seq, event.id, event.kind, event.time, now, data))
                    highest = max(highest, known[event.id])
                out.append(Appended(highest, accepted, len(job.events) - accepted))
            db.executemany("INSERT INTO events VALUES(?, ?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return out


def _translated(error: sqlite3.Error, path: Path) -> LogError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL or (code is not None and code & 0xFF == sqlite3.SQLITE_IOERR):
        return LogFullError(f"no room for the log {path} ({error}). Make room: it goes on by itself")
    if code == sqlite3.SQLITE_NOTADB:
        return LogError(f"{path} is no event log ({error}): name another file")
    if code is not None and code & 0xFF == sqlite3.SQLITE_CORRUPT:
        return LogError(f"the log {path} is damaged ({error}): bring back a copy")
    if path.is_dir():
        return LogError(f"the log {path} is a folder: name a file in it")
    return LogError(f"the log {path} failed: {error}")
