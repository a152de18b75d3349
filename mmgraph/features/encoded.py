"""What comes out of an encoder, row by row, and what the store has to know of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

Reads = Literal["text", "image", "audio", "video", "generation"]


class MediaError(ValueError):
    """One medium cannot become features; the message is the reason that reports show."""


class Problem(NamedTuple):
    """A medium that became a missing modality or was read in part, and why."""

    row: int
    source: str
    reason: str


class Encoded(NamedTuple):
    """Features of ``V`` media.

    ``values`` is [V, D] float32 (encoders of frame sequences: [V, T, D]); absent rows are zero there and
    False in ``present`` [V]. ``problems`` lists the media that were given but could not be read. ``lengths``
    [V] int64 counts the real steps of each row for sequence encoders, and is None for the others. ``partial`` lists
    the media that have features although some of them could not be decoded, and what was lost.
    """

    values: Tensor
    present: Tensor
    problems: tuple[Problem, ...]
    lengths: Tensor | None = None
    partial: tuple[Problem, ...] = ()


@dataclass(frozen=True, eq=False)
class Partly:
    """A decoded medium of which something was lost, and what."""

    item: Any
    lost: str


def partly(item: Any, lost: str) -> Any:
    """The item, or :class:`Partly` it where something was lost."""
    return Partly(item, lost) if lost else item


@dataclass
class Batch:
    """Features of one batch by row, what failed or was lost by row, and where the time went (seconds)."""

    rows: dict[int, Tensor] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    partial: dict[int, str] = field(default_factory=dict)
    decode: float = 0.0
    wait: float = 0.0
    encode: float = 0.0


class Encodes(Protocol):
    """What the store and passports ask of an encoder; :class:`mmgraph.encoders.Encoder` is one."""

    reads: ClassVar[Reads]

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (D,), or (T, D) for frame vectors."""
        ...

    def key(self) -> str:
        """Hash of everything that determines a row, given the medium."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name, version, weights hash and settings, as plain JSON values."""
        ...

    def absent(self, media: Any) -> bool:
        """True where there is no medium at all."""
        ...

    def fingerprint(self, media: Any) -> str | None:
        """Hash of the medium's content, or None where there is no medium."""
        ...

    def stream(self, media: Sequence[tuple[int, Any]], *, workers: int = 2) -> Iterator[Batch]:
        """Features of (row, medium) pairs, batch by batch in the order given."""
        ...


def assemble(
    shape: tuple[int, ...],
    count: int,
    rows: Mapping[int, Tensor],
    problems: Sequence[Problem] = (),
    partial: Sequence[Problem] = (),
) -> Encoded:
    """Rows by index -> one padded tensor with its presence mask."""
    values = torch.zeros((count, *shape))
    present = torch.zeros(count, dtype=torch.bool)
    lengths = torch.zeros(count, dtype=torch.long) if len(shape) == 2 else None
    for row, value in rows.items():
        present[row] = True
        if lengths is None:
            values[row] = value
        else:
            values[row, : len(value)] = value
            lengths[row] = len(value)
    return Encoded(values, present, tuple(sorted(problems)), lengths, tuple(sorted(partial)))


def source_name(media: Any) -> str:
    """How reports name a medium: its path, or the beginning of its text."""
    text = str(media)
    return text if isinstance(media, os.PathLike) or len(text) <= 80 else text[:77] + "…"
