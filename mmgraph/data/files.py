"""Files that are whole or absent, say when they were changed, and have one owner at a time.

Four rules, each a function: a file is written beside its place and moved there (:func:`write_atomically`); a JSON file
carries the hash of its own bytes (:func:`write_json`, :func:`read_json`); a journal only grows, line by line, each
synced before the call returns (:func:`append_line`, :func:`read_lines`); a folder is worked in by one process
(:func:`owned`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

_HASH = "content_hash"
_BLANK = "0" * 32
MEND = "bring back a copy, or make it again"  # what to do about a file that is not what was written


class DamagedFile(ValueError):
    """A file that is not what was written: cut short, or with other bytes. The message names it and the place."""


class FolderInUse(ValueError):
    """Another process works in the folder; the message names it."""


class WriteFailed(OSError):
    """A file could not be written (a full disk, for one). What was there before is whole."""

    def __str__(self) -> str:
        """The message, without the error number."""
        return str(self.args[-1])

    @classmethod
    def about(
        cls, error: OSError, path: str | Path, state: str = "What was there before is whole", advice: str = ""
    ) -> Self:
        """The error about ``path``: the system's reason, what became of the work, what to do."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "Make room and run again" if full else advice or "Give a place that can be written"
        return cls(error.errno, f"cannot write {path}: {error.strerror or error}. {state}. {advice}")


def hash_bytes(content: bytes) -> str:
    """BLAKE2b of some bytes, 32 hex digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hex digits, read in pieces.

    Raises:
        DamagedFile: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 22):
                digest.update(piece)
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> str:
    """Writes a file beside its place, syncs it, then moves it there: a kill leaves the old file or the new one.

    Returns:
        The hash of the content, as :func:`hash_bytes` gives it.

    Raises:
        WriteFailed: the disk is full, the folder is read-only, …; nothing half-written is left.
    """
    with open_atomically(path) as file:
        file.write(content)
    return hash_bytes(content)


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes its place when the block ends without an error: for what writes by itself.

    ::

        with open_atomically(folder / "checkpoint.pt") as file:
            torch.save(state, file)

    Raises:
        WriteFailed: as :func:`write_atomically`, also where the writer turned the system's error into one of its own.
    """
    with _staged(path) as (file, part):
        yield file
        _finish(file, path)
        part.replace(path)
        sync_folder(path.parent)


def write_together(
    folder: Path, contents: Mapping[str, bytes | Callable[[IO[bytes]], object]], manifest: str, values: dict[str, Any]
) -> None:
    """Writes several files as one: all beside their places first, then moved, last the JSON file that vouches for them.

    ``manifest`` gets ``values`` and, under ``files``, the hash of each file (those that ``values`` names there already
    stay). A kill or a full disk before the first move leaves the old files; one between two moves leaves a manifest
    that does not fit, which :func:`altered` tells.

    Args:
        folder: made where it does not exist.
        contents: name -> bytes, or what writes into an open file.
        manifest: the name of the JSON file.
        values: what else it says.

    Raises:
        WriteFailed: as :func:`write_atomically`; names the file.
    """
    hashes = dict(values.get("files", {}))
    with contextlib.ExitStack() as stack:
        moves = []
        for name, content in contents.items():
            file, part = stack.enter_context(_staged(folder / name))
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            _finish(file, folder / name)
            hashes[name] = hash_file(part)
            moves.append((part, folder / name))
        for part, path in moves:
            part.replace(path)
        sync_folder(folder)
    write_json(folder / manifest, {**values, "files": hashes})


def altered(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The names among ``files`` (name -> hash) whose file is gone or holds other bytes."""

    def differs(name: str, wanted: str) -> bool:
        try:
            return hash_file(folder / name) != wanted
        except DamagedFile:
            return True

    return [name for name, wanted in files.items() if differs(name, wanted)]


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[tuple[_Remembering, Path]]:
    """An open file beside ``path``, and where it lies; it is gone when the block ends, unless it was moved."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    file = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Remembering(io.FileIO(part, "x")) as file:
            yield file, part
    except BaseException as error:
        failed = error if isinstance(error, OSError) else None if file is None else file.failed
        if failed is None or isinstance(failed, WriteFailed):
            raise
        raise WriteFailed.about(failed, path) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _finish(file: _Remembering, path: Path) -> None:
    """Everything that was written is on the disk."""
    try:
        file.flush()
        os.fsync(file.fileno())
        file.close()
    except OSError as error:
        raise WriteFailed.about(error, path) from error


class _Remembering(io.BufferedWriter):
    """A writer that keeps the system's error: in its place torch.save raises a RuntimeError about positions."""

    failed: OSError | None = None

    def write(self, data, /) -> int:
        """As a file's."""
        try:
            return super().write(data)
        except OSError as error:
            self.failed = error
            raise


def make_folder(folder: str | Path) -> Path:
    """Makes a folder that is about to be written to.

    Raises:
        WriteFailed: it cannot be made, or not be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise WriteFailed.about(error, folder, "Nothing was written") from error
    return folder


def sync_folder(folder: Path) -> None:
    """Makes names that came or went in a folder outlive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_json(path: Path, values: dict[str, Any]) -> str:
    """Writes a JSON object that carries the hash of its own bytes under ``content_hash``; returns that hash.

    Raises:
        ValueError: a value that JSON does not know, NaN among them.
        WriteFailed: as :func:`write_atomically`.
    """
    text = json.dumps({**values, _HASH: _BLANK}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    blank = text.encode()
    found = hash_bytes(blank)
    write_atomically(path, _with_hash(blank, found))
    return found


def _with_hash(content: bytes, found: str) -> bytes:
    head, _, tail = content.rpartition(f'"{_HASH}": "{_BLANK}"'.encode())
    return head + f'"{_HASH}": "{found}"'.encode() + tail


def read_json(path: Path, what: str = "file") -> dict[str, Any]:
    """Reads what :func:`write_json` wrote. A file without a hash (written by hand) is read as it is.

    Args:
        path: the file.
        what: the word for it in errors.

    Raises:
        FileNotFoundError: no such file.
        DamagedFile: not JSON, no object, or other bytes than were written; with line and column where known.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:  # a JSONDecodeError and a UnicodeDecodeError are ValueErrors
        place = f", line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        problem = getattr(error, "msg", None) or getattr(error, "reason", None) or "nested too deep"
        told = f"this {what} is not JSON ({problem}): it was cut short or changed; {MEND}"
        raise DamagedFile(f"{path}{place}: {told}") from None
    if not isinstance(values, dict):
        raise DamagedFile(f"{path}: this {what} holds a {type(values).__name__}, not an object; {MEND}")
    found = values.pop(_HASH, None)
    if found is None:
        return values
    blank = content.replace(str(found).encode(), _BLANK.encode())
    if hash_bytes(blank) != found:
        told = f"this {what} is not what was written (its hash differs): a byte was lost or changed"
        raise DamagedFile(f"{path}: {told}; {MEND}")
    return values


def append_line(path: Path, values: dict[str, Any]) -> None:
    """Appends one JSON line and syncs it; when this returns the line outlives a kill and a power cut.

    A half line at the end (a kill or a full disk in the middle of a write) is cut off and counted by a line
    ``{"torn": bytes}`` in its place, so it never blocks and never vanishes.

    Raises:
        WriteFailed: the line is not on disk.
    """
    import fcntl

    line = (json.dumps(values, allow_nan=False, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if torn := cut_half_line(file):
                line = (json.dumps({"torn": torn}) + "\n").encode() + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            sync_folder(path.parent)
    except OSError as error:
        raise WriteFailed(error.errno, f"cannot write a line to {path}: {error.strerror or error}") from error


def cut_half_line(file: IO[bytes]) -> int:
    """Cuts what follows the last newline of a file open for reading and writing; returns how many bytes that were."""
    size = file.seek(0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end < size:
        file.truncate(end)
    file.seek(0, os.SEEK_END)
    return size - end


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; one that is no JSON object becomes ``{"torn": bytes}``. No file: no lines."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error
    out = []
    for line in content.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        out.append(values if isinstance(values, dict) else {"torn": len(line)})
    return out


class FileLock:
    """A lock that processes wait for. The kernel holds it, so it is free as soon as its owner ends, however it ends.

    Args:
        path: a file of its own; made when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Takes it; False where another has it and ``wait`` is False.

        Raises:
            WriteFailed: the file cannot be made.
        """
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b")
        except OSError as error:
            raise WriteFailed.about(error, self.path) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Gives it back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextlib.contextmanager
def owned(folder: Path, purpose: str = "run") -> Iterator[None]:
    """This process works in ``folder`` alone; the kernel gives the folder back when the process ends, however it does.

    Args:
        folder: made when it does not exist; holds ``lock``.
        purpose: said in the message another process gets.

    Raises:
        FolderInUse: another process (or another thread of this one) is at work there; the message names it.
    """
    import fcntl

    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise WriteFailed(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FolderInUse(
                f"{folder} is in use by {_owner(file.read())}: wait for it, stop it, or work in another folder"
            ) from None
        file.seek(0)
        file.truncate()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "purpose": purpose, "since": now}))
        file.flush()
        yield


def _owner(text: str) -> str:
    try:
        told = json.loads(text)
        return f"a {told['purpose']}: process {told['pid']} on {told['host']}, since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
