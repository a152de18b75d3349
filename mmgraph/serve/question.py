"""What is asked of a server's engine, what it answers, and how it says no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class Busy(RuntimeError):
    """More questions wait than may; ask again after a moment."""


class Unready(RuntimeError):
    """The engine is starting or ending."""


class UnknownId(KeyError):
    """A raw id that is not known: ``kind`` ``user`` or ``video``, the id, and ids spelt like it."""

    def __init__(self, kind: str, raw: str, close: Sequence[str] = ()) -> None:
        super().__init__(kind, raw)
        self.kind, self.raw, self.close = kind, raw, tuple(close)


class UnknownColumn(KeyError):
    """A filter by a column that no video has; ``names`` are those there are."""

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(name)
        self.name, self.names = name, tuple(names)


@dataclass(slots=True)
class Question:
    """What to recommend to whom.

    Attributes:
        user: raw id, or None when only a history is given.
        k: how many.
        history: raw video ids, oldest first, in place of what is known of the user.
        exclude: raw video ids that may not be in the list.
        candidates: raw video ids, the only ones that may be in it.
        filter: column -> values, one of which a video must have.
        explain: say why each is in the list.
        unknown_user: ``popular``: a stranger gets the popular list; ``error``: :class:`UnknownId`.
        popular: the popular list and nothing else.
    """

    user: str | None
    k: int = 20
    history: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    candidates: Sequence[str] | None = None
    filter: dict[str, list[str]] = field(default_factory=dict)
    explain: bool = False
    unknown_user: str = "popular"
    popular: bool = False


@dataclass(slots=True)
class Answer:
    """A list, best first.

    Attributes:
        user: raw id.
        items: ``video``, ``score``, ``source`` (``model`` | ``new`` | ``popular``), the title where there is one, and
            ``because`` where it was asked for.
        meta: bundle, seq, when popularity and profile are of, ``fallback`` and why.
    """

    user: str | None
    items: list[dict[str, Any]]
    meta: dict[str, Any]
