"""From what a client sends to an event, and the rules for its id and its time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from mmgraph.serve.log.base import MAX_ID, Event

INTERACTIONS = ("click", "finish", "like", "skip")
FUTURE = 300.0  # seconds that a client's clock may run ahead

_KNOWN = ("id", "type", "user", "video", "time", "value")


class EventError(ValueError):
    """One event cannot be taken; the others of its call can.

    Attributes:
        kind: ``fields`` | ``future``: what is wrong, for machines.
        pointer: the field, as ``/time``.
        detail: what is wrong, for people.
    """

    def __init__(self, kind: str, pointer: str, detail: str) -> None:
        self.kind, self.pointer, self.detail = kind, pointer, detail
        super().__init__(f"{pointer}: {detail}")


def interaction(body: Any, now: float) -> Event:
    """A user's meeting with a video, from a client's object.

    ``{"type": "click" | "finish" | "like" | "skip", "user", "video", "id"?, "time"?, "value"?}``. Ids are text; a whole
    number is read as its text. Without ``time`` it happened now. Without ``id`` the event is named by its contents
    (:func:`derived_id`), so that the same one sent again with its time is a duplicate.

    The rule for time: more than five minutes ahead is refused, since it would stand above all that happens until
    then. However late, an event is taken: it is seen and part of the history at its own time, and counts for popularity
    with what is left of its weight.

    Args:
        body: what was sent.
        now: UTC seconds.

    Raises:
        EventError: a field that is missing, unknown, of the wrong type or too long, or a time in the future.
    """
    if not isinstance(body, Mapping):
        raise EventError("fields", "", f"an event is an object, not {_kind(body)}")
    for name in body:
        if name not in _KNOWN:
            raise EventError("fields", f"/{name}", f"unknown field; an event has {', '.join(_KNOWN)}")
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in INTERACTIONS:
        raise EventError("fields", "/type", f"one of {', '.join(INTERACTIONS)}, not {kind!r}")
    user, video = (identifier(body, name) for name in ("user", "video"))
    time = number(body, "time")
    value = number(body, "value")
    if time is not None and time > now + FUTURE:
        raise EventError("future", "/time", f"{time - now:.0f} s ahead of this clock; at most {FUTURE:.0f} are taken")
    if time is not None and time < 0:
        raise EventError("fields", "/time", "seconds since 1970, UTC, at least 0")
    data: dict[str, Any] = {"user": user, "video": video}
    if value is not None:
        data["value"] = value
    moment = now if time is None else time
    given = body.get("id")
    name = derived_id(kind, moment, data) if given is None else identifier(body, "id")
    return Event(name, kind, moment, data)


def derived_id(kind: str, time: float, data: Mapping[str, Any]) -> str:
    """A name made of an event's contents: ``auto:`` and 32 hex digits."""
    parts = [kind, repr(float(time)), *(f"{key}={data[key]!r}" for key in sorted(data))]
    return "auto:" + hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def identifier(body: Mapping[str, Any], name: str) -> str:
    """A raw id as text: text of 1 to 256 characters, none a control character, or a whole number.

    Raises:
        EventError: anything else.
    """
    raw = body.get(name)
    if isinstance(raw, str) and 0 < len(raw) <= MAX_ID and raw.isascii() and raw.isprintable():
        return raw  # most ids, quickly
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)  # 7.0 is 7 in JSON
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) <= 2**53:
        raw = str(raw)
    if not isinstance(raw, str) or not raw:
        raise EventError("fields", f"/{name}", f"an id is text or a whole number of at most 2^53, not {_kind(raw)}")
    if len(raw) > MAX_ID:
        raise EventError("fields", f"/{name}", f"the id has {len(raw)} characters; at most {MAX_ID} are taken")
    if any("\ud800" <= letter <= "\udfff" for letter in raw):
        raise EventError("fields", f"/{name}", "the id is no valid Unicode")
    if any(letter < " " or letter == "\x7f" for letter in raw):
        raise EventError("fields", f"/{name}", "the id holds a control character")
    return raw


def number(body: Mapping[str, Any], name: str) -> float | None:
    """A finite number, or None where there is none.

    Raises:
        EventError: anything else.
    """
    raw = body.get(name)
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise EventError("fields", f"/{name}", f"a number, not {_kind(raw)}")
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or abs(value) > 1e15:
        raise EventError("fields", f"/{name}", "a finite number of at most 1e15")
    return value


def _kind(value: Any) -> str:
    names = {type(None): "nothing", bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "empty text" if value == "" else type(value).__name__)
