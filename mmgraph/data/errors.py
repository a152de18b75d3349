"""Errors that say where the data is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class DataError(ValueError):
    """The data is wrong. The message names file, line or row, and column as far as they are known, and the fix.

    Args:
        problem: what is wrong, with the value that was met.
        fix: what the reader of the message can do about it.
        file, line, row, column: where. ``line`` counts from 1 and includes the header, ``row`` counts from 0.
    """

    def __init__(
        self,
        problem: str,
        *,
        fix: str = "",
        file: str | Path | None = None,
        line: int | None = None,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        self.problem, self.fix = problem, fix
        self.file = None if file is None else str(file)
        self.line, self.row, self.column = line, row, column
        where = [] if file is None else [str(file)]
        where += [] if line is None else [f"line {line}"]
        where += [] if row is None else [f"row {row}"]
        where += [] if column is None else [f"column {column!r}"]
        place = ", ".join(where)
        super().__init__((f"{place}: " if place else "") + problem + (f". Fix: {fix}" if fix else ""))


class UnknownIdError(DataError, KeyError):
    """An id that the vocabulary does not hold."""

    __str__ = ValueError.__str__  # KeyError would print the repr of the message


class SealedTestError(RuntimeError):
    """The test part of a split was touched outside ``evaluate_test``, or opened a second time."""


@dataclass(frozen=True, eq=False)
class Source:
    """Where a table came from, so that an error can name the file and the line.

    Args:
        file: the file, or None for a table made in memory.
        first_line: the line of row 0 in that file (2 below a header), or None when rows and lines do not match.
        rows: the row in the file of each row of the table, when some were left out.
    """

    file: str | Path | None = None
    first_line: int | None = None
    rows: Sequence[int] | None = None

    def error(self, problem: str, *, fix: str = "", row: int | None = None, column: str | None = None) -> DataError:
        """The :class:`DataError` about a row of this table."""
        return DataError(problem, fix=fix, column=column, **self.place(row))

    def place(self, row: int | None) -> dict:
        """Keyword arguments of :class:`DataError` that name a row: its line in the file where that is known."""
        if row is None:
            return {"file": self.file}
        row = row if self.rows is None else self.rows[row]
        if self.first_line is not None:
            return {"file": self.file, "line": self.first_line + int(row)}
        return {"file": self.file, "row": int(row)}
