"""What an event and a log of events are."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

MAX_ID = 256  # characters


class LogError(OSError):
    """The log cannot be read or written; nothing of the call was stored."""


class LogFullError(LogError):
    """There is no room left for the log. What is stored stays, reading goes on."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        id: names it for ever: a second event of the same id is a duplicate and changes nothing.
        kind: ``click`` | ``finish`` | ``like`` | ``skip`` (a user met a video), or ``video`` | ``hide`` | ``show`` |
            ``delete`` (something was done to a video).
        time: UTC seconds when it happened.
        data: the rest, as JSON takes it: ``user``, ``video``, ``value``, ``features``, …
    """

    id: str
    kind: str
    time: float
    data: dict[str, Any]

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(self._asdict(), separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, body: bytes | str) -> Event:
        """From :meth:`encode`.

        Raises:
            ValueError: not such an object.
        """
        try:
            found = json.loads(body)
            return cls(str(found["id"]), str(found["kind"]), float(found["time"]), dict(found["data"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no event: {str(body)[:80]!r} ({error})") from error


class Entry(NamedTuple):
    """An event in a log: its place ``seq``, from 1, when the log took it in (UTC seconds), and the event."""

    seq: int
    received: float
    event: Event


class Appended(NamedTuple):
    """What an append did.

    Attributes:
        seq: the highest place of the events given, whether new or stored before; 0 for none.
        accepted: how many were new.
        duplicates: how many were there already, or twice in the call.
    """

    seq: int
    accepted: int
    duplicates: int


class EventLog(Protocol):
    """Events in one order, each once, that survive what was acknowledged.

    ``append`` returns when the events cannot be lost any more, as the log's settings define it. An event whose id the
    log holds is not stored again. ``seq`` rises by the order of the log; where it skips numbers, nothing is missing.
    """

    def append(self, events: Sequence[Event]) -> Appended:
        """Stores what is new of these, all or none.

        Raises:
            LogFullError: no room.
            LogError: the log cannot be written.
        """
        ...

    def read(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """The first ``limit`` entries with ``seq > after``, in order."""
        ...

    def last(self) -> int:
        """The highest ``seq``; 0 for an empty log."""
        ...

    def commit(self, consumer: str, seq: int) -> None:
        """Notes durably that a consumer is done with everything up to ``seq``; it never goes back."""
        ...

    def committed(self, consumer: str) -> int:
        """Where a consumer is; 0 for one that never committed."""
        ...

    def close(self) -> None:
        """Finishes what was handed in and lets go of files and connections."""
        ...
