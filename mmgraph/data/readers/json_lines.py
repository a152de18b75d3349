"""Files of one JSON object a line, picked into tables."""

from __future__ import annotations

import ast
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from lzma import LZMAError
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mmgraph.data.checks import first_line
from mmgraph.data.errors import DataError, Source
from mmgraph.data.readers.packed import opener_of
from mmgraph.data.readers.tables import existing

Pick = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def json_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with their lines, one a line; packed files are unpacked as they are read.

    Lines that hold a Python dict (as Amazon's metadata of 2014) are read too: as a value, never as code.

    Raises:
        DataError: no such file, a damaged archive, a line that is neither, or not UTF-8.
    """
    path = existing(path)
    try:
        with (opener_of(path) or open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _object(line, path, number)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error, LZMAError) as error:
        problem = f"damaged: it cannot be unpacked ({first_line(error)})"
        raise DataError(problem, file=path, fix="copy or download the file again") from error


def _object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        made = json.loads(line)
    except UnicodeDecodeError as error:
        raise DataError("the line is not UTF-8", file=path, line=number, fix="save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        try:
            made = ast.literal_eval(line.decode("utf-8"))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            problem = f"not a JSON object: {first_line(error)}"
            raise DataError(problem, file=path, line=number, fix="repair or drop the line") from error
    if not isinstance(made, dict):
        problem = f"a {type(made).__name__} in place of a JSON object"
        raise DataError(problem, file=path, line=number, fix="write one object a line")
    return made


def read_json_lines(
    path: str | Path, columns: Mapping[str, pl.DataType | type[pl.DataType]], pick: Pick
) -> tuple[pl.DataFrame, Source]:
    """A table of what ``pick`` takes from each object, and its source for later errors.

    Args:
        path: the file.
        columns: name -> type of the table's columns.
        pick: from an object its row, name -> value (None where it lacks one); None leaves the object out. It may raise
            KeyError for a key that has to be there.

    Raises:
        DataError: see :func:`json_objects`; a missing key or a value of another type, with its line and column.
    """
    values: dict[str, list[Any]] = {name: [] for name in columns}
    lines: list[int] = []
    for number, record in json_objects(path):
        try:
            row = pick(record)
        except KeyError as error:
            raise DataError(
                f"the object has no {error.args[0]!r}; it has {sorted(record)[:12]}",
                file=path,
                line=number,
                fix="check that this is the file the layout expects",
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            problem = f"a value of another type than the layout has ({first_line(error)})"
            raise DataError(problem, file=path, line=number, fix="repair or drop the line") from error
        if row is not None:
            lines.append(number)
            for name, column in values.items():
                column.append(row.get(name))
    place = np.array(lines, dtype=np.int64)
    source = Source(path, first_line=1, lines=lambda: place)
    return pl.DataFrame([_typed(name, values[name], kind, source) for name, kind in columns.items()]), source


def _typed(name: str, values: list[Any], kind: Any, source: Source) -> pl.Series:
    try:
        return pl.Series(name, values, dtype=kind)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        for row, value in enumerate(values):
            try:
                pl.Series(name, [value], dtype=kind)
            except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
                fix = "repair the value, or drop the line"
                raise source.error(f"{value!r} is no {kind}", row=row, column=name, fix=fix) from error
        raise
