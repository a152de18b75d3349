"""The files of the feature store: rows of one encoder, written whole or not at all, checked when they are read."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from mmgraph.data.errors import DataError
from mmgraph.data.files import WriteFailed, write_atomically
from mmgraph.data.files import make_folder as make_any_folder
from mmgraph.features.encoded import assemble


class StoreWriteError(WriteFailed):
    """The store cannot be written (a full disk, for one). What was stored before is whole."""


@dataclass
class Held:
    """Rows, reasons of media without a row, what rows lack, by content hash; and the chunks they came out of."""

    rows: dict[str, Tensor] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    partial: dict[str, str] = field(default_factory=dict)
    chunks: set[Path] = field(default_factory=set)
    damaged: int = 0


def write_error(error: OSError, folder: Path, state: str) -> StoreWriteError:
    """The error of a write that failed, which says how the store stands and what to do."""
    cause = error.__cause__ if isinstance(error, WriteFailed) and isinstance(error.__cause__, OSError) else error
    return StoreWriteError.about(
        cause, folder, state, "Give a folder that can be written (mmgraph encode: --store and --out)"
    )


def make_folder(folder: Path) -> None:
    """Make a folder that is about to be written to.

    Raises:
        StoreWriteError: it cannot be made, or not be written to.
    """
    try:
        make_any_folder(folder)
    except OSError as error:
        raise write_error(error, folder, "Nothing was encoded") from error


def chunks(folder: Path) -> list[Path]:
    """The chunks of an encoder's folder, in the order of their names."""
    return sorted(folder.glob("*.safetensors"))


def write_chunk(
    folder: Path,
    shape: tuple[int, ...],
    rows: Mapping[str, Tensor],
    problems: Mapping[str, str],
    partial: Mapping[str, str],
) -> Path:
    """One chunk: "values" [n, D] ("values" [n, T, D] and "lengths" [n] for sequences), keys and reasons."""
    packed = assemble(shape, len(rows), dict(enumerate(rows.values())))
    tensors = {"values": packed.values}
    if packed.lengths is not None:
        tensors["lengths"] = packed.lengths
    told = {"keys": list(rows), "problems": dict(problems), "partial": dict(partial)}
    data = safetensors.torch.save(tensors, {"store": json.dumps(told)})  # one entry: safetensors shuffles several
    path = folder / f"{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
    write_atomically(path, data)
    return path


def read_chunk(path: Path, wanted: Mapping[str, Any] | None, shape: tuple[int, ...]) -> Held:
    """Wanted rows and reasons of one chunk. Of a chunk without any only the header is read.

    Raises:
        DataError: its bytes are not those that were written, or were never written by a store.
    """
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < size <= path.stat().st_size:
            raise _damaged(path)
        header = file.read(size)
        keys, problems, partial = _told(path, header)
        if wanted is not None and not any(key in wanted for key in (*keys, *problems)):
            return Held()
        data = start + header + file.read()
    if hashlib.sha256(data).hexdigest()[:32] != path.stem:
        raise _damaged(path)
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:  # safetensors' own, which has no base but this
        raise _damaged(path) from error
    values, lengths = tensors.get("values"), tensors.get("lengths")
    if values is None or values.shape != (len(keys), *shape) or (lengths is None) != (len(shape) == 1):
        raise _damaged(path)
    if lengths is not None and (lengths.shape != (len(keys),) or bool(((lengths < 1) | (lengths > shape[0])).any())):
        raise _damaged(path)
    here = [(position, key) for position, key in enumerate(keys) if wanted is None or key in wanted]
    return Held(
        {key: values[at] if lengths is None else values[at, : int(lengths[at])] for at, key in here},
        {key: reason for key, reason in problems.items() if wanted is None or key in wanted},
        {key: lost for key, lost in partial.items() if wanted is None or key in wanted},
    )


def _told(path: Path, header: bytes) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Keys of the rows, reasons of media without a row, what rows lack: what the header of a chunk says."""
    try:
        told = json.loads(json.loads(header)["__metadata__"]["store"])
        keys, problems, partial = told["keys"], told["problems"], told["partial"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error
    texts = [*(keys if isinstance(keys, list) else [None])]
    for notes in (problems, partial):
        texts += [*notes, *notes.values()] if isinstance(notes, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise _damaged(path)
    return keys, problems, partial


def _damaged(path: Path) -> DataError:
    return DataError("damaged chunk", file=path, fix="delete it: its rows are encoded again")
