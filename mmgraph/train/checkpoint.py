"""The files of a training: checkpoints that are whole or absent, known by their hash; a log with a row an epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from mmgraph.data.files import DamagedFile, WriteFailed, open_atomically, write_atomically

_DIGITS = 32  # of the hash: the comment that ends the zip archive which torch.save writes


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes ``state`` beside ``path``, syncs it, then renames: a kill leaves the old file or the new one.

    The file is what ``torch.save`` writes, with the hash of all its bytes behind them.

    Raises:
        WriteFailed: (an OSError) the disk is full, for one; the file is named and the one before is whole.
    """
    with open_atomically(path) as file:
        hashed = _Hashed(file)
        torch.save(state, hashed)  # type: ignore[arg-type]  # it needs `write` alone
        hashed.finish()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what :func:`save_checkpoint` wrote, tensors on the CPU.

    Of a training run: ``model`` (the weights that count: the best epoch's so far, or the last where nothing was
    validated), ``last`` (those that training goes on from), ``optimizer``, ``report``, ``done``, and what an exact
    resume needs.

    Raises:
        FileNotFoundError: no checkpoint there.
        DamagedFile: (a ValueError) the file is no checkpoint, or a byte of it is not what was written.
    """
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}")
    digest, over = hashlib.blake2b(digest_size=_DIGITS // 2), "delete it to start over, or bring back a copy"
    try:
        with path.open("rb") as file:
            left = path.stat().st_size - _DIGITS
            while left > 0 and (piece := file.read(min(1 << 22, left))):
                digest.update(piece)
                left -= len(piece)
            written = file.read()
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error
    if written != digest.hexdigest().encode():
        raise DamagedFile(f"{path} is not a readable checkpoint: its bytes are not those that were written; {over}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedFile(f"{path} is not a readable checkpoint of this version of torch ({error}); {over}") from error


class _Hashed:
    """What ``torch.save`` writes to: hashes the archive, and ends it with its hash as the archive's comment."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.blake2b(digest_size=_DIGITS // 2)
        self.held = b""  # the last two bytes: at the end they are the length of the comment, written as 0

    def write(self, data: Any) -> int:
        """All but the last two bytes so far."""
        view = memoryview(data).cast("B")
        if len(view) >= 2:
            self._put(self.held)
            self._put(view[:-2])
            self.held = bytes(view[-2:])
        else:
            both = self.held + bytes(view)
            self._put(both[:-2])
            self.held = both[-2:]
        return len(view)

    def flush(self) -> None:
        """Nothing to do: :func:`open_atomically` syncs."""

    def finish(self) -> None:
        """Writes the length of the comment, and the comment."""
        self._put(_DIGITS.to_bytes(2, "little"))
        self.file.write(self.digest.hexdigest().encode())

    def _put(self, data: Any) -> None:
        self.digest.update(data)
        self.file.write(data)


def write_log(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Writes ``log.jsonl``, a row an epoch, whole."""
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in history).encode())


def append_log(path: Path, row: Mapping[str, float]) -> None:
    """Adds the row of one epoch.

    Raises:
        WriteFailed: (an OSError) the disk is full, for one.
    """
    try:
        with path.open("a") as log:
            log.write(json.dumps(row) + "\n")
    except OSError as error:
        raise WriteFailed.about(error, path) from error
