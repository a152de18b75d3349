"""Files into tables and arrays, with errors that name the file and the line."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmgraph.data.errors import DataError, Source
from mmgraph.data.readers.packed import not_utf8, unpacked


def existing(path: str | Path, what: str = "file") -> Path:
    """The path, or a DataError that says what is missing."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"the {what} does not exist", file=path, fix="check the path")
    return path


class Lines(NamedTuple):
    """Tokens of a text file, those of the lines that are not blank.

    Args:
        numbers: [L] the number of each line, from 1.
        lengths: [L] how many tokens it has.
        tokens: all of them in order: int64 when each is the plain decimal of an integer, else text.
    """

    numbers: NDArray[np.int64]
    lengths: NDArray[np.int64]
    tokens: NDArray


def read_tokens(path: str | Path) -> Lines:
    """The blank- or tab-separated tokens of each line; packed files are unpacked.

    Raises:
        DataError: no such file, nothing in it, or text that is not UTF-8.
    """
    path = existing(path)
    if path.is_dir():
        raise DataError("this is a folder", file=path, fix="name the file in it")
    lines = [line.split() for line in unpacked(path).removeprefix(codecs.BOM_UTF8).splitlines()]
    numbers = np.array([i for i, t in enumerate(lines, 1) if t], dtype=np.int64)
    lines = [t for t in lines if t]
    if not lines:
        raise DataError("the file is empty", file=path, fix="write one line a user: user item item …")
    lengths = np.array([len(line) for line in lines], dtype=np.int64)
    flat = np.array([t for line in lines for t in line])
    try:
        whole = flat.astype(np.int64)
        if np.array_equal(whole.astype(flat.dtype), flat):  # 007 is another name than 7
            return Lines(numbers, lengths, whole)
    except (ValueError, OverflowError):
        pass
    try:
        return Lines(numbers, lengths, np.char.decode(flat, "utf-8"))
    except UnicodeDecodeError:
        raise not_utf8(path) or DataError("not UTF-8", file=path) from None


def read_lists(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Lines ``user item item …`` of ids that are rows, separated by blanks or tabs.

    Returns:
        users [L] and line numbers [L] of the lines that are not blank, list lengths [L], and all items in order.

    Raises:
        DataError: a token that is no whole number from 0 on, or a user with two lines.
    """
    source = Source(path, first_line=1)
    numbers, lengths, flat = read_tokens(path)
    heads = np.cumsum(lengths) - lengths
    line = np.repeat(numbers, lengths) - 1
    if flat.dtype.kind != "i":
        bad = np.flatnonzero([not _is_row(token) for token in flat.tolist()])
        first = int(bad[0])
        digits = flat[first].removeprefix("-").isdigit()
        raise source.error(
            f"{str(flat[first])!r} is not a whole number" + (" as Python writes it, of 64 bits" if digits else ""),
            rows=list(dict.fromkeys(line[bad].tolist())),
            column=f"field {first - int(heads[np.searchsorted(heads, first, side='right') - 1]) + 1}",
            fix="write integer ids: user item item …",
        )
    if flat.min() < 0:
        places = np.flatnonzero(flat < 0)
        raise source.error(f"id {flat[places[0]]} is negative", rows=np.unique(line[places]), fix="ids start at 0")
    users = flat[heads]
    refuse_second_lines(users, numbers, source)
    return users, numbers, lengths - 1, np.delete(flat, heads)


def _is_row(token: str) -> bool:
    text = token.removeprefix("-")
    return text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 2**63


def refuse_second_lines(users: NDArray, numbers: NDArray[np.int64], source: Source) -> None:
    """Raises a DataError where a user has two lines."""
    order = np.argsort(users, kind="stable")
    again = users[order][1:] == users[order][:-1]
    if again.any():
        seconds = np.sort(order[1:][again])
        raise source.error(
            f"user {users[seconds[0]]} has a line already", rows=numbers[seconds] - 1, fix="join the two lines"
        )


def read_npy(path: str | Path) -> NDArray:
    """An ``.npy`` array of numbers.

    Raises:
        DataError: no such file, not ``.npy``, pickled objects, or fewer bytes than the header promises.
    """
    path = existing(path)
    if path.is_dir():
        raise DataError("this is a folder", file=path, fix="save the array there: numpy.save(path, a)")
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            start = file.tell()
    except (ValueError, EOFError) as error:
        raise DataError(f"not an .npy file ({error})", file=path, fix="write it with numpy.save") from error
    if dtype.hasobject or dtype.kind not in "biuf":
        held = "pickled objects" if dtype.hasobject else "text" if dtype.kind in "US" else f"values of {dtype}"
        raise DataError(f"holds {held}, not numbers", file=path, fix="save a float array: numpy.save(path, a)")
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
