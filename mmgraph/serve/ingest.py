"""Events from a file, a Redis stream or a Kafka topic into a log."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mmgraph.serve.log import Event, EventError, EventLog, KafkaLog, RedisLog, interaction
from mmgraph.serve.log.events import FUTURE

_AT_ONCE = 1000
_SHOWN = 5


@dataclass
class Ingested:
    """What became of the events of a source.

    Attributes:
        accepted, duplicates: how many were new, and how many the log had.
        rejected: why -> how many.
        examples: the first few rejected, in words.
        seq: where the log is now.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    seq: int = 0

    def reject(self, place: str, error: EventError) -> None:
        """Counts one that was not taken."""
        self.rejected[error.kind] += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(f"{place}: {error}")


def ingest(
    source: str, log: EventLog, consumer: str = "mmgraph-ingest", clock: Callable[[], float] = time.time
) -> Ingested:
    """Takes in everything that a source holds now, each event once, however often it is called.

    A file is NDJSON, an event a line as ``POST /v1/events`` takes them; ``-`` is standard input.
    ``redis://host:port/0`` and ``kafka://host:port/topic`` are logs of :class:`RedisLog` and :class:`KafkaLog`: what
    was taken is committed there under ``consumer`` once it is durable here, so that a kill in between repeats events,
    which then are duplicates.

    Args:
        source: a file, ``-``, ``redis://…`` (its stream in ``#name``, ``mmgraph`` by default) or ``kafka://…/topic``.
        log: where they go.
        consumer: whose place in the source it is.
        clock: UTC seconds.

    Raises:
        FileNotFoundError: no such file.
        LogError: the source or the log does not answer.
    """
    done = Ingested(seq=log.last())
    parts = urlsplit(source)
    if parts.scheme in ("redis", "rediss", "unix"):
        return _from_log(RedisLog(source.split("#")[0], parts.fragment or "mmgraph"), log, consumer, done, clock)
    if parts.scheme == "kafka":
        topic = parts.path.strip("/") or "mmgraph"
        return _from_log(KafkaLog(parts.netloc, topic), log, consumer, done, clock)
    if source == "-":
        import sys

        return _from_lines(sys.stdin.buffer, "line", log, done, clock)
    if Path(source).is_dir():
        raise IsADirectoryError(f"{source} is a folder: give a file of events, one JSON object a line")
    with Path(source).open("rb") as file:
        return _from_lines(file, f"{source}, line", log, done, clock)


def _from_lines(
    lines: Iterable[bytes], place: str, log: EventLog, done: Ingested, clock: Callable[[], float]
) -> Ingested:
    def events() -> Iterator[Event]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield interaction(_parsed(line), clock())
            except EventError as error:
                done.reject(f"{place} {number}", error)

    batch: list[Event] = []
    for event in events():
        batch.append(event)
        if len(batch) == _AT_ONCE:
            _store(batch, log, done)
            batch = []
    _store(batch, log, done)
    return done


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        raise EventError("fields", "", f"no JSON: {error}") from None


def _from_log(source: EventLog, log: EventLog, consumer: str, done: Ingested, clock: Callable[[], float]) -> Ingested:
    try:
        place = source.committed(consumer)
        while entries := source.read(place, _AT_ONCE):
            events = []
            for entry in entries:
                if entry.event.time > clock() + FUTURE:
                    done.reject(f"entry {entry.seq}", EventError("future", "/time", "ahead of this clock"))
                else:
                    events.append(entry.event)
            _store(events, log, done)
            place = entries[-1].seq
            source.commit(consumer, place)
    finally:
        source.close()
    return done


def _store(events: list[Event], log: EventLog, done: Ingested) -> None:
    if events:
        appended = log.append(events)
        done.accepted += appended.accepted
        done.duplicates += appended.duplicates
        done.seq = max(done.seq, appended.seq)
