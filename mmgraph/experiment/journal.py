"""The journal of a place: who opened which test, written and synced before the test is read.

A place is the folder that holds the runs. Openings are counted by what is in the test part (users, videos, pairs), so
that the same split under another name, made again or copied has been opened as often as before.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgraph.data.files import append_line, read_lines

if TYPE_CHECKING:
    from mmgraph.data.split import Split

JOURNAL = "openings.jsonl"


@contextlib.contextmanager
def recorded_opening(place: str | Path, split: Split, experiment: str, seed: int, identity: str) -> Iterator[str]:
    """Within it the test may be read: the opening is on disk before it begins, and closed when it ends.

    Args:
        place: the folder that holds the runs; the journal is its ``openings.jsonl``.
        split: whose test.
        experiment, seed, identity: who opens it.

    Yields:
        A name for this opening that no earlier one of this process has.

    Raises:
        WriteFailed: the opening could not be written, so the test stays closed.
    """
    path = Path(place) / JOURNAL
    key = uuid.uuid4().hex
    who = {"experiment": experiment, "seed": seed, "identity": identity}
    where = {"test": split.test_id, "protocol_id": split.protocol_id}
    process = {"pid": os.getpid(), "host": socket.gethostname()}
    append_line(path, {"event": "open", "key": key, "time": _now(), **who, **where, **process})
    outcome = "failed"
    try:
        yield unused_name(split, f"{experiment}/{seed}")
        outcome = "read"
    finally:
        append_line(path, {"event": "close", "key": key, "time": _now(), "outcome": outcome})


def unused_name(split: Split, name: str) -> str:
    """``name``, or where this process has opened the test under it before ``name, look 2``, ``name, look 3``, …"""
    looks = sum(other == name or other.startswith(f"{name}, look ") for other in split.openings)
    return f"{name}, look {looks + 1}" if looks else name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def openings(place: str | Path, split: Split | str) -> list[dict[str, Any]]:
    """How often a test was opened in a place, and by whom.

    Args:
        place: the folder that holds the runs.
        split: whose test, or its ``test_id``.

    Returns:
        One entry an experiment, in the order they came: ``experiment``, ``times``, ``seeds``, ``first``, ``last``,
        ``protocols``. Lines of the journal that a kill or a full disk cut short may have been openings of this test:
        they are one entry, ``experiment`` None.
    """
    wanted = split if isinstance(split, str) else split.test_id
    found: dict[Any, dict[str, Any]] = {}
    torn = 0
    for line in read_lines(Path(place) / JOURNAL):
        torn += "torn" in line
        if line.get("event") != "open" or line.get("test") != wanted:
            continue
        name, moment = line.get("experiment"), line.get("time")
        new = {"experiment": name, "times": 0, "seeds": [], "first": moment, "last": moment, "protocols": []}
        entry = found.setdefault(name, new)
        entry["times"] += 1
        entry["last"] = moment
        for key, value in (("seeds", line.get("seed")), ("protocols", line.get("protocol_id"))):
            if value not in entry[key]:
                entry[key].append(value)
    unknown = [{"experiment": None, "times": torn}] if torn else []
    return [*found.values(), *unknown]
