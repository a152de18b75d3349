"""The feature store: each medium goes through each encoder once.

A row is found by the hash of its medium's content and the key of its encoder (name, version, weights, settings),
so a renamed file is found again, a changed file is encoded again (it alone), and another encoder or setting never
meets another's rows. Rows lie in chunks, safetensors files named by the hash of their own bytes; a chunk appears
whole or not at all (written beside, synced, renamed), so a kill or a full disk at any moment leaves a good store
that the next run goes on from.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from mmgraph.data.errors import DataError
from mmgraph.data.files import write_atomically
from mmgraph.features.chunks import Held, StoreWriteError, chunks, make_folder, read_chunk, write_chunk, write_error
from mmgraph.features.encoded import Encoded, Encodes, MediaError, Problem, assemble, source_name
from mmgraph.progress import Advance
from mmgraph.progress import progress as show_progress

_STALE_SECONDS = 3600.0


class EncodeReport(BaseModel):
    """What one pass did.

    Attributes:
        encoder: name, version, weights and settings.
        rows: media asked for. ``present`` of them have features, ``absent`` were not given at all.
        encoded: distinct media that went through the encoder in this pass.
        reused: rows that came out of the store.
        problems: media that were given and have no features, with the reason.
        partial: media that have features although some of them could not be decoded, and what was lost.
        damaged: chunks whose bytes are not what was written; their rows were encoded again.
        seconds: hashing, decoding (CPU seconds in threads), waiting for decoding, encoding, writing, total.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: dict[str, Any]
    rows: int
    present: int
    absent: int
    encoded: int
    reused: int
    problems: tuple[Problem, ...]
    partial: tuple[Problem, ...] = ()
    damaged: int
    seconds: dict[str, float]

    def text(self, limit: int = 20) -> str:
        """For people: counts, then the problems (at most ``limit``)."""
        lines = [
            f"{self.encoder['name']}: {self.present} of {self.rows} rows have features "
            f"({self.encoded} media encoded now, {self.reused} rows from the store, {self.absent} not given, "
            f"{len(self.problems)} unreadable) in {self.seconds['total']:.1f} s"
        ]
        lines += [f"  row {problem.row}: {problem.source}: {problem.reason}" for problem in self.problems[:limit]]
        if len(self.problems) > limit:
            lines.append(f"  … and {len(self.problems) - limit} more")
        lines += [f"  row {part.row}: {part.source}: in part: {part.reason}" for part in self.partial[:limit]]
        if len(self.partial) > limit:
            lines.append(f"  … and {len(self.partial) - limit} more in part")
        return "\n".join(lines)


class Stored(NamedTuple):
    """Features, the report on how they came to be, and the content hash of each medium (None: absent or unreadable)."""

    encoded: Encoded
    report: EncodeReport
    contents: tuple[str | None, ...]


class FeatureStore:
    """Features on disk, in a folder for each encoder.

    Args:
        directory: made when it does not exist.
        chunk_rows: rows after which a chunk is written.
        chunk_seconds: seconds after which a chunk is written even if smaller; what a kill can cost.

    Raises:
        StoreWriteError: the folder cannot be made.
    """

    def __init__(self, directory: str | Path, *, chunk_rows: int = 512, chunk_seconds: float = 30.0) -> None:
        if chunk_rows < 1:
            raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}")
        self.directory = Path(directory)
        self.chunk_rows = chunk_rows
        self.chunk_seconds = chunk_seconds
        make_folder(self.directory)

    def folder(self, encoder: Encodes) -> Path:
        """Where an encoder's chunks lie."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", encoder.name).strip("-.") or "encoder"
        return self.directory / f"{slug}-{encoder.key()[:16]}"

    def encode(
        self,
        encoder: Encodes,
        media: Sequence[Any],
        *,
        workers: int = 2,
        progress: bool = False,
        retry: bool = False,
    ) -> Stored:
        """Features of ``V`` media; the encoder runs only on what the store does not hold.

        A medium that cannot be decoded is remembered with its reason, by content, and is not tried again unless
        ``retry``. A file that cannot be opened at all is tried each time.

        Args:
            media: paths, texts or records; None where a video has none.
            workers: threads that hash and decode.
            progress: show how far it is, on a terminal or off it.
            retry: decode again what failed before.

        Raises:
            StoreWriteError: a chunk cannot be written. Earlier chunks stay; run again to go on.
        """
        began = time.perf_counter()
        clock = {"hash": 0.0, "decode": 0.0, "wait": 0.0, "encode": 0.0, "write": 0.0}
        keys, signatures, problems = _fingerprints(encoder, media, workers, progress)
        clock["hash"] = time.perf_counter() - began
        folder = self.folder(encoder)
        self._describe(folder, encoder)
        wanted = {key: row for row, key in reversed(list(enumerate(keys))) if key is not None}
        held = self._read(folder, wanted, encoder.shape, progress)
        rows, reasons, losses = held.rows, held.problems, held.partial
        known = len(rows)
        if retry:
            reasons = {}
        reused = sum(1 for key in keys if key in rows)
        in_order = sorted(wanted.items(), key=lambda item: item[1])
        todo = [(row, media[row]) for key, row in in_order if key not in rows and key not in reasons]
        pending = _Pending(self, folder, encoder, len(todo))
        try:
            with show_progress(encoder.name, len(todo), shown=progress) as advance:
                for batch in encoder.stream(todo, workers=workers):
                    for row, value in batch.rows.items():
                        if signatures[row] == _signature(encoder, media[row]):
                            key = str(keys[row])
                            pending.rows[key] = rows[key] = value
                            if row in batch.partial:
                                pending.partial[key] = losses[key] = batch.partial[row]
                        else:
                            problems[row] = "changed while it was being read"
                    for row, reason in batch.problems.items():
                        if signatures[row] == _signature(encoder, media[row]):
                            pending.problems[str(keys[row])] = reasons[str(keys[row])] = reason
                        else:
                            problems[row] = "changed while it was being read"
                    for name in ("decode", "wait", "encode"):
                        clock[name] += getattr(batch, name)
                    advance(len(batch.rows) + len(batch.problems))
                    pending.write_if_due()
        except StoreWriteError:
            raise
        except BaseException as stop:  # keep what is done, whatever stopped us
            pending.write()
            stop.add_note(f"{pending.saved} of {len(todo)} new media are stored in {folder}")
            raise
        pending.write()
        clock["write"] = pending.seconds
        changed = {keys[row]: reason for row, reason in problems.items() if keys[row] is not None}
        for row, key in enumerate(keys):
            reason = None if key is None or key in rows else reasons.get(key) or changed.get(key)
            if reason is not None:
                problems[row] = reason
        found = {row: rows[key] for row, key in enumerate(keys) if key in rows}
        listed = [Problem(row, source_name(media[row]), why) for row, why in problems.items()]
        parts = [
            Problem(row, source_name(media[row]), losses[str(keys[row])]) for row in found if str(keys[row]) in losses
        ]
        encoded = assemble(encoder.shape, len(media), found, listed, parts)
        clock["total"] = time.perf_counter() - began
        report = EncodeReport(
            encoder=encoder.describe(),
            rows=len(media),
            present=len(found),
            absent=len(media) - len(found) - len(listed),
            encoded=len(rows) - known,
            reused=reused,
            problems=encoded.problems,
            partial=encoded.partial,
            damaged=held.damaged,
            seconds={name: round(value, 4) for name, value in clock.items()},
        )
        return Stored(encoded, report, tuple(keys))

    def compact(self, encoder: Encodes) -> int:
        """Join an encoder's chunks into full ones; returns how many there are then.

        Many small passes leave many small chunks. The new ones are written before the old ones go, and only chunks
        whose rows are in the new ones go: a stop at any moment, another pass or another ``compact`` at the same time
        lose nothing.

        Raises:
            StoreWriteError: a chunk cannot be written. All old ones are still there.
        """
        folder = self.folder(encoder)
        held = self._read(folder, None, encoder.shape)
        names, notes = list(held.rows), (held.problems, held.partial)
        after = set()
        for start in range(0, max(1, len(names)), self.chunk_rows):
            part = {name: held.rows[name] for name in names[start : start + self.chunk_rows]}
            if part or notes[0]:
                try:
                    after.add(write_chunk(folder, encoder.shape, part, *notes))
                except OSError as error:
                    raise write_error(error, folder, "Every row that was stored still is") from error
                notes = ({}, {})
        for path in held.chunks - after:
            path.unlink(missing_ok=True)
        return len(after)

    def _describe(self, folder: Path, encoder: Encodes) -> None:
        """Make the folder, say what it is for, and clear what a killed run left half-written long ago."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "encoder.json").exists():
                text = json.dumps(encoder.describe(), indent=1, ensure_ascii=False)
                write_atomically(folder / "encoder.json", text.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise write_error(error, folder, "Nothing was encoded") from error
        for path in folder.glob(".*.part"):
            try:
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
            except OSError:  # another run's, just renamed
                continue

    def _read(
        self, folder: Path, wanted: Mapping[str, Any] | None, shape: tuple[int, ...], progress: bool = False
    ) -> Held:
        """What the store holds of the wanted content hashes (None: of all). Damaged chunks are moved aside."""
        held, seen = Held(), set()
        while fresh := [path for path in chunks(folder) if path not in seen]:
            seen.update(fresh)
            with show_progress(f"reading {folder.name}", len(fresh), shown=progress, lasting=False) as advance:
                self._read_chunks(fresh, wanted, shape, held, advance)
        held.problems = {key: reason for key, reason in held.problems.items() if key not in held.rows}
        return held

    @staticmethod
    def _read_chunks(
        paths: Sequence[Path], wanted: Mapping[str, Any] | None, shape: tuple[int, ...], held: Held, advance: Advance
    ) -> None:
        """Adds what these chunks hold."""
        for path in paths:
            advance()
            try:
                chunk = read_chunk(path, wanted, shape)
            except FileNotFoundError:  # another process has just put its rows into a chunk that the next look finds
                continue
            except OSError as error:
                warnings.warn(f"{path} cannot be read: {error.strerror or error}; its rows are encoded again",
                              stacklevel=3)  # fmt: skip
                held.damaged += 1
            except DataError as error:
                aside = path.with_suffix(".damaged")
                with contextlib.suppress(OSError):
                    path.replace(aside)
                warnings.warn(
                    f"{path}: {error.problem}, moved to {aside.name}; its rows are encoded again", stacklevel=3
                )
                held.damaged += 1
            else:
                held.chunks.add(path)
                held.rows.update(chunk.rows)
                held.problems.update(chunk.problems)
                held.partial.update(chunk.partial)


class _Pending:
    """Rows that are encoded and not yet written."""

    def __init__(self, store: FeatureStore, folder: Path, encoder: Encodes, total: int) -> None:
        self.store, self.folder, self.encoder, self.total = store, folder, encoder, total
        self.rows: dict[str, Tensor] = {}
        self.problems: dict[str, str] = {}
        self.partial: dict[str, str] = {}
        self.saved = 0
        self.seconds = 0.0
        self.last = time.perf_counter()

    def write_if_due(self) -> None:
        late = time.perf_counter() - self.last > self.store.chunk_seconds
        if len(self.rows) + len(self.problems) >= self.store.chunk_rows or late:
            self.write()

    def write(self) -> None:
        count = len(self.rows) + len(self.problems)
        if not count:
            return
        began = time.perf_counter()
        try:
            write_chunk(self.folder, self.encoder.shape, self.rows, self.problems, self.partial)
        except OSError as error:
            state = f"{self.saved} of {self.total} new media are stored, {count} encoded since are not"
            raise write_error(error, self.folder, state) from error
        self.saved += count
        self.rows, self.problems, self.partial = {}, {}, {}
        self.last = time.perf_counter()
        self.seconds += self.last - began


def _fingerprints(
    encoder: Encodes, media: Sequence[Any], workers: int, progress: bool
) -> tuple[list[str | None], list[tuple[int, ...] | None], dict[int, str]]:
    """Content hash and file signature of each medium, and the reasons of those that cannot be read."""

    def one(item: Any) -> tuple[str | None, tuple[int, ...] | None, str | None]:
        if encoder.absent(item):
            return None, None, None
        signature = _signature(encoder, item)
        try:
            return encoder.fingerprint(item), signature, None
        except MediaError as error:
            return None, signature, str(error)

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="hash") as pool:
        found = []
        with show_progress(f"hashing for {encoder.name}", len(media), shown=progress, lasting=False) as advance:
            for told in pool.map(one, media) if _reads_files(encoder) else map(one, media):
                found.append(told)
                advance()
    reasons = {row: reason for row, (_, _, reason) in enumerate(found) if reason is not None}
    return [key for key, _, _ in found], [signature for _, signature, _ in found], reasons


def _reads_files(encoder: Encodes) -> bool:
    return encoder.reads in ("image", "audio", "video")


def _signature(encoder: Encodes, item: Any) -> tuple[int, ...] | None:
    """Size, time and number of a file: whether it changed between hashing and decoding."""
    if not _reads_files(encoder):
        return None
    try:
        status = os.stat(item)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
