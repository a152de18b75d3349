"""Errors that say where the data is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
T = TypeVar("T")
_PLACES_SHOWN = 5


class DataError(ValueError):
    """The data is wrong. The message names file, line or row, and column as far as they are known, and the fix.

    Args:
        problem: what is wrong, with the value that was met.
        fix: what the reader of the message can do about it.
        file, line, row, column: where. ``line`` counts from 1 and includes the header, ``row`` counts from 0.

    Attributes:
        others: what else was wrong with the same data, when one look found several problems.
    """

    others: tuple[DataError, ...] = ()

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


class Findings:
    """The data errors of several steps, so that one look tells them all: the first is raised and carries the others.

    ::

        found = Findings()
        users = found.attempt(read, "users.csv")
        videos = found.attempt(read, "videos.csv")
        if found:
            raise found.error()
    """

    def __init__(self) -> None:
        self._found: list[DataError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, error: DataError) -> None:
        """Keep an error, and the others that it carries."""
        self._found += [error, *error.others]
        error.others = ()

    def attempt(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What the step returns; None, and its error is kept, where it raises a DataError."""
        try:
            return step(*args, **kwargs)
        except DataError as error:
            self.add(error)
            return None

    def error(self) -> DataError:
        """The first error, with the others in it. There has to be one."""
        first, *others = self._found
        first.others = tuple(others)
        return first


@dataclass(frozen=True, eq=False)
class Source:
    """Where a table came from, so that an error can name the file and the line.

    Args:
        file: the file, or None for a table made in memory.
        first_line: the line of row 0 in that file (2 below a header), or None when rows and lines do not match.
        rows: the row in the file of each row of the table, when some were left out.
        lines: gives the line of each row, for a file where a cell may go on over several lines; asked at the first
            error only.
        notes: what the reader decided by the content.
    """

    file: str | Path | None = None
    first_line: int | None = None
    rows: Sequence[int] | NDArray | None = None
    lines: Callable[[], Sequence[int] | NDArray] | None = None
    notes: tuple[str, ...] = ()

    def error(
        self,
        problem: str,
        *,
        fix: str = "",
        row: int | None = None,
        rows: Sequence[int] | NDArray | None = None,
        column: str | None = None,
    ) -> DataError:
        """The :class:`DataError` about a row of this table, or about several that share the problem."""
        if rows is not None:
            row, problem = int(rows[0]), problem + self.also(rows)
        return DataError(problem, fix=fix, column=column, **self.place(row))

    def also(self, rows: Sequence[int] | NDArray) -> str:
        """Where else than in the first of the rows, for the end of a problem: ``; also in lines 9, 12``."""
        if len(rows) < 2:
            return ""
        places = [self.place(int(row)) for row in rows[1 : 1 + _PLACES_SHOWN]]
        unit = "line" if "line" in places[0] else "row"
        more = len(rows) - 1 - len(places)
        numbers = ", ".join(str(place[unit]) for place in places)
        return f"; also in {unit}{'s' * (len(rows) > 2)} {numbers}" + (f" and {more:,} more" if more else "")

    def of_rows(self, rows: NDArray) -> Source:
        """The source of a table that keeps only these rows [n] of this one."""
        kept = rows if self.rows is None else np.asarray(self.rows)[rows]
        return Source(self.file, self.first_line, kept, self.lines, self.notes)

    @cached_property
    def _lines(self) -> Sequence[int] | NDArray:
        return () if self.lines is None else self.lines()

    def place(self, row: int | None) -> dict:
        """Keyword arguments of :class:`DataError` that name a row: its line in the file where that is known."""
        if row is None:
            return {"file": self.file}
        row = int(row if self.rows is None else self.rows[row])
        lines = () if self.lines is None else self._lines
        if row < len(lines):
            return {"file": self.file, "line": int(lines[row])}
        if self.first_line is not None:
            return {"file": self.file, "line": self.first_line + row}
        return {"file": self.file, "row": row}


@dataclass(frozen=True)
class Origin:
    """Where a dataset came from and what its reader decided, so that nothing is guessed without a word.

    Args:
        layout: the layout that was read, such as ``MovieLens``; empty for tables in memory.
        files: the files that were read (a folder stands for all that is in it).
        notes: one sentence for each thing that the content decided: separator, date order, columns renamed.
    """

    layout: str = ""
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
