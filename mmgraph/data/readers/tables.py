"""Files into tables and arrays, with errors that name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgraph.data.errors import DataError, Source
from mmgraph.data.readers.delimited import not_utf8


def existing(path: str | Path, what: str = "file") -> Path:
    """The path, or a DataError that says what is missing."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"the {what} does not exist", file=path, fix="check the path")
    return path


def read_lists(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Lines ``user item item …`` separated by blanks or tabs.

    Returns:
        users [L] and line numbers [L] of the lines that are not blank, list lengths [L], and all items in order.

    Raises:
        DataError: a token that is no whole number, or a user with two lines.
    """
    path = existing(path)
    source = Source(path, first_line=1)
    raw = path.read_bytes().splitlines()
    tokens = [line.split() for line in raw]
    numbers = np.array([i for i, t in enumerate(tokens, 1) if t], dtype=np.int64)
    tokens = [t for t in tokens if t]
    if not tokens:
        raise DataError("the file is empty", file=path, fix="write one line a user: user item item …")
    try:
        flat = np.array([t for line in tokens for t in line]).astype(np.int64)
    except (ValueError, OverflowError) as error:
        bad = [
            (number - 1, place, token)
            for number, line in zip(numbers, tokens)
            for place, token in enumerate(line, 1)
            if not token.lstrip(b"-").isdigit()
        ]
        if bad:
            _, place, token = bad[0]
            raise source.error(
                f"{token.decode('utf-8', 'replace')!r} is not a whole number",
                rows=list(dict.fromkeys(row for row, _, _ in bad)),
                column=f"field {place}",
                fix="write integer ids: user item item …",
            ) from error
        raise DataError(f"an id does not fit in 64 bits ({error})", file=path, fix="use smaller ids") from error
    lengths = np.array([len(line) for line in tokens], dtype=np.int64)
    heads = np.cumsum(lengths) - lengths
    users = flat[heads]
    if flat.min() < 0:
        places = np.flatnonzero(flat < 0)
        rows = np.unique(numbers[np.searchsorted(heads, places, side="right") - 1]) - 1
        raise source.error(f"id {flat[places[0]]} is negative", rows=rows, fix="ids start at 0")
    order = np.argsort(users, kind="stable")
    again = users[order][1:] == users[order][:-1]
    if again.any():
        seconds = np.sort(order[1:][again])
        raise source.error(
            f"user {users[seconds[0]]} has a line already", rows=numbers[seconds] - 1, fix="join the two lines"
        )
    return users, numbers, lengths - 1, np.delete(flat, heads)


def read_npy(path: str | Path) -> NDArray:
    """An ``.npy`` array of numbers.

    Raises:
        DataError: no such file, not ``.npy``, pickled objects, or fewer bytes than the header promises.
    """
    path = existing(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            start = file.tell()
    except (ValueError, EOFError) as error:
        raise DataError(f"not an .npy file ({error})", file=path, fix="write it with numpy.save") from error
    if dtype.hasobject:
        raise DataError("holds pickled objects, not numbers", file=path, fix="save a float array: numpy.save(path, a)")
    promised = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size
    if size < promised:
        raise DataError(
            f"truncated: {size} bytes, but the header promises {promised} for shape {tuple(shape)} of {dtype}",
            file=path,
            fix="copy or download the file again",
        )
    return np.load(path, allow_pickle=False)


def read_json(path: str | Path) -> Any:
    """A JSON file.

    Raises:
        DataError: not UTF-8, or not JSON, with the line.
    """
    path = existing(path)
    bad = not_utf8(path)
    if bad is not None:
        raise bad
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg}", file=path, line=error.lineno, fix="repair the file") from error


def files_by_id(folder: Path, suffixes: Sequence[str]) -> Mapping[str, list[Path]]:
    """The files ``<id>.<suffix>`` and ``<id>/*.<suffix>`` of a folder by id; empty when there is no folder."""
    found: dict[str, list[Path]] = {}
    if not folder.is_dir():
        return found
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            inside = sorted(p for p in entry.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
            if inside:
                found.setdefault(entry.name, []).extend(inside)
        elif entry.suffix.lower() in suffixes:
            found.setdefault(entry.stem, []).append(entry)
    return found
