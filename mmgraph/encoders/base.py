"""What an encoder is: media in, features and a presence mask out; frozen, deterministic, batched.

An encoder has two halves. ``decode`` opens one medium and is run in threads; ``encode`` runs the network over a
batch of decoded media in the caller's thread. So decoding overlaps encoding, for every encoder, with no code of
its own. Nothing here is trained: what is trained on top (pooling over frames, adaptors) is a layer in
``mmgraph.nn``.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmgraph.features.encoded import Batch, Encoded, MediaError, Partly, Problem, Reads, assemble, source_name
from mmgraph.progress import progress as show_progress

__all__ = ["Encoded", "Encoder", "FileEncoder", "MediaError", "Problem"]


def missing_extra(package: str) -> ImportError:
    """The error for an optional package that is not installed."""
    return ImportError(f"{package} is needed to read media and is not installed: pip install mmgraph[media]")


class Encoder(ABC):
    """A frozen function from media to features.

    Subclasses are frozen dataclasses whose fields are their settings. They give ``name``, ``shape`` ((D,) or
    (T, D)), ``weights_hash``, ``decode`` and ``encode``. Bump ``version`` when the arithmetic changes: stored
    features are found by name, version, weights and settings.
    """

    reads: ClassVar[Reads]
    version: ClassVar[str] = "1"
    batch_size: int = 32

    @property
    @abstractmethod
    def name(self) -> str:
        """What the encoder is called in stores and passports."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (D,), or (T, D) for frame vectors."""

    @property
    def dim(self) -> int:
        """Width ``D`` of the features."""
        return self.shape[-1]

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything but the weights that changes the features, as plain JSON values."""

    @abstractmethod
    def weights_hash(self) -> str:
        """Hash of the weights' bytes ("none" where there are no weights)."""

    def absent(self, media: Any) -> bool:
        """True where there is no medium at all: None, a blank text."""
        return is_absent(media)

    @abstractmethod
    def fingerprint(self, media: Any) -> str | None:
        """Hash of the medium's content, or None where there is no medium.

        Raises:
            MediaError: there is one, and it cannot be read.
        """

    @abstractmethod
    def decode(self, media: Any) -> Any:
        """Open one medium and prepare it (:class:`Partly`, where something was lost); called from several threads.

        Raises:
            MediaError: it is corrupt, empty or of another kind.
        """

    @abstractmethod
    def encode(self, items: Sequence[Any]) -> Tensor | Sequence[Tensor]:
        """Features of decoded media: [B, D], or for sequences B tensors [T_i, D] with 1 <= T_i <= T."""

    def key(self) -> str:
        """Hash of name, version, weights and settings: two encoders with one key give the same features."""
        return digest(self.describe())

    def describe(self) -> dict[str, Any]:
        """Name, version, weights hash and settings, as plain JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "weights": self.weights_hash(),
            "settings": self.settings(),
        }

    def stream(self, media: Sequence[tuple[int, Any]], *, workers: int = 2) -> Iterator[Batch]:
        """Decode (row, medium) pairs in threads, encode in this one, yield batch by batch in the order given.

        At most two batches are decoded ahead, so memory does not grow with the number of media.
        """
        yield from _stream(self, media, workers)

    def __call__(self, media: Sequence[Any], *, progress: bool = False, workers: int = 2) -> Encoded:
        """Encode ``V`` media without a store.

        Args:
            media: paths, texts or records; None (or an empty text) where a video has none.
            progress: show how far it is, on a terminal or off it.
            workers: threads that decode ahead of the encoder.
        """
        rows: dict[int, Tensor] = {}
        problems: list[Problem] = []
        partial: list[Problem] = []
        given = [(row, item) for row, item in enumerate(media) if not self.absent(item)]
        with show_progress(self.name, len(given), shown=progress) as advance:
            for batch in self.stream(given, workers=workers):
                rows.update(batch.rows)
                problems += [Problem(row, source_name(media[row]), why) for row, why in batch.problems.items()]
                partial += [Problem(row, source_name(media[row]), what) for row, what in batch.partial.items()]
                advance(len(batch.rows) + len(batch.problems))
        return assemble(self.shape, len(media), rows, problems, partial)


class FileEncoder(Encoder):
    """An encoder whose media are files: the content hash is the hash of the file's bytes."""

    def fingerprint(self, media: Any) -> str | None:
        """Hash of the file's bytes, or None where there is no file."""
        return None if self.absent(media) else f"file:{hash_file(media)}"


def _stream(encoder: Encoder, media: Sequence[tuple[int, Any]], workers: int) -> Iterator[Batch]:
    size = max(1, encoder.batch_size)
    waiting: deque[tuple[int, Future[tuple[Any, str | None, float]]]] = deque()
    upcoming = iter(media)
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(waiting) < 2 * size + workers:
                    following = next(upcoming, None)
                    if following is None:
                        break
                    waiting.append((following[0], pool.submit(_decode, encoder, following[1])))
                if not waiting:
                    return
                batch, rows, items = Batch(), [], []
                began = time.perf_counter()
                try:
                    while waiting and len(rows) < size:
                        _take(waiting, batch, rows, items)
                except BaseException:  # stopped while waiting: what is decoded is kept as well
                    while waiting and len(rows) < size and _decoded(waiting[0][1]):
                        _take(waiting, batch, rows, items)
                    _encode(encoder, rows, items, batch)
                    yield batch
                    raise
                batch.wait = time.perf_counter() - began
                _encode(encoder, rows, items, batch)
                yield batch
        finally:
            for _, future in waiting:
                future.cancel()


def _decoded(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _take(waiting: deque[tuple[int, Future]], batch: Batch, rows: list[int], items: list[Any]) -> None:
    """Move the next decoded medium into the batch; it stays in line while it is waited for."""
    row, future = waiting[0]
    item, reason, seconds = future.result()
    waiting.popleft()
    batch.decode += seconds
    if reason is not None:
        batch.problems[row] = reason
        return
    if isinstance(item, Partly):
        batch.partial[row], item = item.lost, item.item
    rows.append(row)
    items.append(item)


def _decode(encoder: Encoder, media: Any) -> tuple[Any, str | None, float]:
    """One decoded medium, or the reason there is none, and the thread's CPU seconds."""
    began = time.thread_time()
    try:
        item, reason = encoder.decode(media), None
    except MediaError as error:
        item, reason = None, str(error)
    return item, reason, time.thread_time() - began


def _encode(encoder: Encoder, rows: list[int], items: list[Any], batch: Batch) -> None:
    """Run the encoder over one batch; a row that is not finite becomes a problem, not a feature."""
    if not items:
        return
    began = time.perf_counter()
    with torch.inference_mode():
        values = encoder.encode(items)
    if len(values) != len(rows):
        raise ValueError(f"{encoder.name}.encode gave {len(values)} rows for {len(rows)} media")
    for row, value in zip(rows, values, strict=True):
        value = value.detach().to("cpu", torch.float32, copy=True)
        if value.shape[-1] != encoder.shape[-1] or value.dim() != len(encoder.shape):
            raise ValueError(f"{encoder.name}: a row has shape {tuple(value.shape)}, not {encoder.shape}")
        if bool(torch.isfinite(value).all()):
            batch.rows[row] = value
        else:
            batch.problems[row] = "the encoder gave values that are not finite"
            batch.partial.pop(row, None)
    batch.encode = time.perf_counter() - began


def usable_device(device: str) -> torch.device:
    """The device a name stands for.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {device!r} is unknown: give cpu, cuda, cuda:1 or mps") from error
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(found.type)
    if there is not None and not there():
        raise ValueError(f"device {device!r}: torch finds no such device on this machine; use device='cpu'")
    return found


def is_absent(media: Any) -> bool:
    """True for None and for a blank text."""
    return media is None or (isinstance(media, str) and not media.strip())


def digest(value: Any) -> str:
    """SHA-256 of a plain JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def regular_file(media: Any) -> Path:
    """The path of a regular file.

    Raises:
        MediaError: it is absent, a folder, a pipe, or may not be looked at. (A pipe would block for ever.)
    """
    path = Path(media)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise MediaError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        raise MediaError("cannot be read: not a regular file")
    return path


def hash_file(media: Any) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        MediaError: the file cannot be read.
    """
    path = regular_file(media)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror or error}") from error


def hash_weights(state: Mapping[str, Tensor], skip: frozenset[str] = frozenset()) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of a state dict; ``skip`` names entries that are not used."""
    total = hashlib.sha256()
    for name in sorted(state):
        if name not in skip:
            value = state[name].detach().cpu().contiguous()
            total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
