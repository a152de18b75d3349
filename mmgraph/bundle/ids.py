"""Raw ids as text, and their rows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice


class Ids:
    """Raw ids in row order, as text: ``"7"`` is the number 7. They only grow.

    Args:
        raw: the ids, one a row, each once.

    Raises:
        ValueError: an id appears twice.
    """

    def __init__(self, raw: Sequence[str] = ()) -> None:
        self.raw = list(raw)
        self.row = dict(zip(self.raw, range(len(self.raw))))
        if len(self.row) != len(self.raw):
            raise ValueError(f"{len(self.raw) - len(self.row)} of {len(self.raw)} ids appear twice")

    def __len__(self) -> int:
        return len(self.raw)

    def __contains__(self, raw: object) -> bool:
        return raw in self.row

    def find(self, raw: str) -> int:
        """The row of an id; -1 where it is unknown."""
        return self.row.get(raw, -1)

    def add(self, raw: str) -> int:
        """The row of an id, which gets the next one where it is new."""
        row = self.row.setdefault(raw, len(self.raw))
        if row == len(self.raw):
            self.raw.append(raw)
        return row

    def copy(self) -> Ids:
        """The same ids, to grow apart from these."""
        out = Ids.__new__(Ids)
        out.raw, out.row = self.raw.copy(), self.row.copy()
        return out

    def close(self, raw: str, leave_out: Iterable[str] = (), count: int = 3) -> list[str]:
        """Ids spelt like this one, for an error message; never one of ``leave_out``."""
        barred = set(leave_out)
        near = [known for known in islice(self.raw, 20_000) if abs(len(known) - len(raw)) <= 2 and known not in barred]
        return difflib.get_close_matches(raw, near, n=count, cutoff=0.5)
