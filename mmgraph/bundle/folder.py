"""A folder that is there whole or not at all, and whose every file is checked when it is read."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from mmgraph.bundle.manifest import FORMAT, FileFacts, Manifest
from mmgraph.data.files import WriteFailed, hash_file, sync_folder, write_atomically

MANIFEST = "manifest.json"


class BundleError(ValueError):
    """A folder that is no bundle, or not the one that was written; the message names the file."""


@contextlib.contextmanager
def writing(folder: Path, replace: bool) -> Iterator[Path]:
    """A new folder beside ``folder`` to write into, which takes its place when the block ends well.

    Raises:
        BundleError: ``folder`` exists, and is not to be replaced or is no bundle.
        WriteFailed: it cannot be written; what stood there is as it was.
    """
    if folder.is_symlink():
        folder = folder.resolve()
    if folder.exists():
        if not (folder / MANIFEST).is_file():
            raise BundleError(f"{folder} exists and is no bundle: give another place")
        if not replace:
            raise BundleError(f"{folder} exists: give another place, or replace=True (--replace)")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _sync(temporary)
        _put(temporary, folder)
    except OSError as error:
        raise error if isinstance(error, WriteFailed) else WriteFailed.about(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(new: Path, folder: Path) -> None:
    """Moves ``new`` to ``folder`` in one step; what was there lies at ``new`` afterwards."""
    if not folder.exists():
        new.rename(folder)
    elif not _exchange(new, folder):
        old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
        folder.rename(old)
        new.rename(folder)
        old.rename(new)
    sync_folder(folder.parent)


def _exchange(one: Path, two: Path) -> bool:
    """Lets two folders change places, where Linux can (renameat2 with RENAME_EXCHANGE)."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    here = -100  # AT_FDCWD
    return call is not None and call(here, os.fsencode(one), here, os.fsencode(two), 2) == 0


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in [*(p for p in folder.rglob("*") if p.is_dir()), folder]:
        sync_folder(path)


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Writes the manifest with the hash of every file that lies in the folder."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    facts = {name: FileFacts(blake2b=hash_file(folder / name), bytes=(folder / name).stat().st_size) for name in names}
    manifest = manifest.model_copy(update={"files": facts})
    manifest = manifest.model_copy(update={"digest": manifest.digested()})
    write_atomically(folder / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle, its files not yet checked.

    Raises:
        BundleError: no bundle, or one of another format.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{folder} is no bundle: there is no {MANIFEST}; mmgraph export makes one") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if isinstance(found, dict) and found.get("format", FORMAT) != FORMAT:
        raise BundleError(f"{path}: format {found['format']}, this version reads {FORMAT}: export it again")
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(map(str, first["loc"]))
        raise BundleError(f"{path}: {place}: {first['msg']} ({error.error_count()} problems)") from error


def check(folder: Path, manifest: Manifest) -> None:
    """That each file is there and has the bytes that were written, the manifest too, and that there is no other.

    Raises:
        BundleError: the first that is not so.
    """
    for name, facts in manifest.files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"{folder}: the manifest names {name!r}, outside the folder")
        if not path.is_file():
            raise BundleError(f"{path} is missing: export the bundle again")
        size = path.stat().st_size
        if size != facts.bytes:
            raise BundleError(f"{path} has {size} bytes, {facts.bytes} were written: export the bundle again")
        if hash_file(path) != facts.blake2b:
            raise BundleError(f"{path} is not what was written (its hash differs): export the bundle again")
    if manifest.digest != manifest.digested():
        raise BundleError(f"{folder / MANIFEST} is not what was written (its digest differs): export the bundle again")
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    if strange := sorted(there - set(manifest.files)):
        raise BundleError(f"{folder / strange[0]} does not belong to the bundle ({len(strange)} such files)")
