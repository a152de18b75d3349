"""Files as they lie on disk: packed or not, text or another format."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from mmgraph.data.checks import first_line
from mmgraph.data.errors import DataError

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_OTHER_FORMATS = {
    b"PAR1": ("Parquet", "use read_parquet"),
    b"PK\x03\x04": ("an archive or a spreadsheet", "unpack it, or save it as CSV"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it"),
    b"\x93NUMPY": ("an .npy array", "put it into features/, or load it with numpy"),
    b"\x89HDF": ("HDF5", "write it as CSV or Parquet"),
    b"SQLite format 3": ("a database", "write its table as CSV or Parquet"),
}


def text_file(path: str | Path) -> Path:
    """A path that can be read as text.

    Raises:
        DataError: no such file, a folder, nothing in it, not to be read, or of another format.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("the file does not exist", file=path, fix="check the path")
    if path.is_dir():
        raise DataError("this is a folder", file=path, fix="name the file in it")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", file=path, fix="check its rights") from error
    if not start:
        raise DataError("the file is empty", file=path, fix="write a header and at least one row")
    for magic, (what, fix) in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"this is {what}, not text", file=path, fix=fix)
    return path


def opener_of(path: Path) -> Callable | None:
    """What unpacks a file, by its first bytes; None where it is not packed."""
    with path.open("rb") as file:
        start = file.read(6)
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)


def unpacked(path: Path, size: int = -1) -> bytes:
    """The bytes of a file, unpacked where it is compressed; at most ``size``."""
    opener = opener_of(path) or open
    try:
        with opener(path, "rb") as file:
            return file.read(size)  # type: ignore[return-value]
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        problem = f"damaged: it cannot be unpacked ({first_line(error)})"
        raise DataError(problem, file=path, fix="copy or download the file again") from error


def not_utf8(path: Path, *, offer: bool = False) -> DataError | None:
    """The error about the first line that is not UTF-8, or None when all are; it may offer ``encoding=``."""
    for number, line in enumerate(io.BytesIO(unpacked(path)), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return DataError(
                f"byte 0x{line[error.start]:02x} at position {error.start + 1} is not UTF-8",
                file=path,
                line=number,
                fix="save the file as UTF-8 (for example: iconv -f GB18030 -t UTF-8)"
                + (", or say what it is: encoding='latin-1', 'gb18030', …" if offer else ""),
            )
    return None
