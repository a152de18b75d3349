"""Writing files that are there whole or not at all: the one way anything of mmgraph reaches a disk."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["WriteError", "make_folder", "open_atomically", "sha256", "write_atomically"]


class WriteError(OSError):
    """A file or folder that cannot be written; what stood there before is untouched, and nothing half-written is left.

    ``errno`` is the system's, such as ``ENOSPC`` for a full disk.
    """

    def __str__(self) -> str:
        """The message, without the error number."""
        return str(self.args[-1])

    @classmethod
    def about(cls, error: OSError, path: str | Path, state: str = "", advice: str = "") -> WriteError:
        """The error about ``path``: the system's reason, then what became of the work, then what to do."""
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or not advice:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            advice = "Make room and run again" if full else "Give a place that can be written"
        parts = [f"cannot write {path}: {reason}", state.rstrip("."), advice]
        return cls(error.errno, ". ".join(part for part in parts if part))


def write_atomically(path: str | Path, data: bytes | bytearray | memoryview) -> None:
    """Write a file that is there whole or not at all, even through a kill or a power cut.

    Written beside its place, synced, renamed; then the folder is synced, so that the name survives too. The folder is
    made where it does not exist.

    Raises:
        WriteError: it cannot be written. The old file, if there was one, is as it was.
    """
    with open_atomically(path) as file:
        file.write(data)


@contextmanager
def open_atomically(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes its place when the block ends without an error: for what writes by itself.

    ::

        with open_atomically(folder / "checkpoint.pt") as file:
            torch.save(state, file)

    Raises:
        WriteError: it cannot be written, also where the writer turned the system's error into another of its own.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    file = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _Remembering(io.FileIO(temporary, "x"))
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        _forget(temporary)
        failed = error if isinstance(error, OSError) else None if file is None else file.failed
        if failed is None or isinstance(failed, WriteError):
            raise
        raise WriteError.about(failed, path) from error


class _Remembering(io.BufferedWriter):
    """A writer that keeps the system's error: torch.save raises a RuntimeError about positions in its place."""

    failed: OSError | None = None

    def write(self, data, /) -> int:
        """As a file's."""
        try:
            return super().write(data)
        except OSError as error:
            self.failed = error
            raise


def _forget(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # the folder itself cannot be reached: the error that is being raised says why
        return


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system has such a thing."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: str | Path) -> Path:
    """Make a folder that is about to be written to.

    Raises:
        WriteError: it cannot be made, or not be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise WriteError.about(error, folder) from error
    return folder


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
