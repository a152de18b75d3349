"""What a dataset holds beside its interactions: features of a modality, and entities that videos belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.checks import (
    finite_matrix,
)
from mmgraph.data.errors import DataError, Source
from mmgraph.data.fingerprints import digest
from mmgraph.data.vocabulary import Vocabulary, as_tensor


@dataclass(frozen=True, eq=False)
class Encoding:
    """Which frozen encoder made feature rows, out of which media: what they are, wherever they were computed.

    Another number of threads, another machine or library changes the last bits of a feature and nothing of this.

    Args:
        encoder: the encoder's key (name, version, weights, settings) and how its rows were pooled.
        media: [V, 16] uint8, a hash of each row's media; 0 where a video has none.

    Raises:
        DataError: ``media`` of another shape or type.
    """

    encoder: str
    media: Tensor

    def __post_init__(self) -> None:
        if self.media.dtype != torch.uint8 or self.media.dim() != 2 or self.media.shape[1] != 16:
            raise DataError(
                f"media hashes of {self.media.dtype} {tuple(self.media.shape)}",
                fix="give uint8 [V, 16], 16 bytes a row",
            )


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """The features of one modality, one row a video.

    Args:
        values: [V, D] float32. Rows that are absent are set to zero.
        present: [V] bool: which videos have this modality. All, when not given.

    Attributes:
        encoding: who made the rows out of what, where :meth:`encoded` was told; None for any other matrix. It does not
            survive a change of the values.

    Raises:
        DataError: ``values`` is no matrix, or a present row holds NaN or infinity.
    """

    values: Tensor
    present: Tensor = None  # type: ignore[assignment]
    encoding: Encoding | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        present = self.present
        if isinstance(self.values, Tensor) and self.values.is_complex():
            raise DataError(f"features are {self.values.dtype}", fix="give real numbers")
        if isinstance(self.values, str) or not hasattr(self.values, "__len__"):
            raise DataError(f"features must be a matrix [V, D], got {self.values!r}", fix="give a tensor")
        present = torch.ones(len(self.values), dtype=torch.bool) if present is None else torch.as_tensor(present)
        if present.dtype.is_floating_point or present.dtype.is_complex:
            raise DataError(f"present is {present.dtype}, a mask of flags is bool", fix="give one bool for each row")
        if present.dtype != torch.bool and not bool(((present == 0) | (present == 1)).all()):
            raise DataError("present holds other values than 0 and 1", fix="give one bool for each row")
        present = present.to(torch.bool)
        if present.shape != (len(self.values),):
            raise DataError(
                f"present is {list(present.shape)} beside values {list(self.values.shape)}",
                fix="give one bool for each row of the features",
            )
        values = torch.as_tensor(self.values)
        if not bool(present.all()) and bool((values[~present] != 0).any()):  # NaN != 0 as well
            values = values.masked_fill(~present[:, None], 0)
        object.__setattr__(self, "values", finite_matrix(values, "features"))
        object.__setattr__(self, "present", present)

    def __repr__(self) -> str:
        rows, width = self.values.shape
        return f"Features({rows} x {width}, {int(self.present.sum())} present)"

    @classmethod
    def of(cls, values: Any, present: Any = None) -> Features:
        """Features from any matrix of numbers [V, D] (float16 is cast to float32) and an optional mask [V]."""
        values = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
        return cls(values, None if present is None else torch.as_tensor(np.asarray(present)))  # type: ignore[arg-type]

    @classmethod
    def encoded(cls, values: Tensor, present: Tensor, encoding: Encoding) -> Features:
        """Features as an encoder made them, identified by encoder and media rather than by their bits.

        Raises:
            DataError: as the class; or media hashes of another number of rows.
        """
        out = cls(values, present)
        if len(encoding.media) != len(out.values):
            raise DataError(
                f"{len(out.values)} feature rows, {len(encoding.media)} media hashes", fix="give one hash for each row"
            )
        object.__setattr__(out, "encoding", encoding)
        return out

    @property
    def dim(self) -> int:
        """Width D."""
        return self.values.shape[1]

    def fingerprint(self) -> str:
        """What these features are, 32 hex digits: encoder, media and mask where they are known, else every bit."""
        shape, present = str(tuple(self.values.shape)).encode(), self.present.numpy()
        if self.encoding is None:
            return digest(shape, self.values.numpy(), present)
        return digest(shape, b"encoded", self.encoding.encoder.encode(), self.encoding.media.numpy(), present)

    def take(self, rows: NDArray[np.int64] | Tensor) -> Features:
        """The features of these video rows [n], in this order."""
        index = torch.as_tensor(rows)
        if index.dtype.is_floating_point or index.dtype == torch.bool:
            raise TypeError(f"rows of type {index.dtype}: give whole numbers from 0 on")
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= len(self.values)):
            bad = int(index.min()) if int(index.min()) < 0 else int(index.max())
            raise IndexError(f"row {bad} is outside the {len(self.values)} rows")
        values, present = self.values[index], self.present[index]
        if self.encoding is None:
            return Features(values, present)
        return Features.encoded(values, present, Encoding(self.encoding.encoder, self.encoding.media[index]))

    def spread(self, rows: Tensor, count: int) -> Features:
        """The same rows at other places among ``count`` videos, which else have none: row i goes to ``rows[i]``."""
        values = self.values.new_zeros(count, self.dim)
        present = torch.zeros(count, dtype=torch.bool)
        values[rows], present[rows] = self.values, self.present
        if self.encoding is None:
            return Features(values, present)
        media = self.encoding.media.new_zeros(count, 16)
        media[rows] = self.encoding.media
        return Features.encoded(values, present, Encoding(self.encoding.encoder, media))

    @classmethod
    def aligned(
        cls, videos: Vocabulary, ids: Sequence[Any] | pl.Series | NDArray, values: Any, source: Source | None = None
    ) -> Features:
        """Features given for some raw ids only: the other videos have none.

        Args:
            ids: raw video ids [n], each once; values: [n, D].

        Raises:
            DataError: an unknown or repeated id, or row counts that differ.
        """
        source = source or Source()
        matrix = finite_matrix(values, "features", source)
        given = Vocabulary(ids, source)
        if len(given) != len(matrix):
            raise source.error(f"{len(given)} ids but {len(matrix)} feature rows", fix="give one row for each id")
        rows = as_tensor(videos.rows(given.ids, source=source))
        full = torch.zeros(len(videos), matrix.shape[1])
        present = torch.zeros(len(videos), dtype=torch.bool)
        full[rows], present[rows] = matrix, True
        return cls(full, present)


@dataclass(frozen=True, eq=False)
class Entities:
    """Things that videos share: tags, categories, creators.

    Args:
        ids: raw id <-> row of the entity.
        edges: [2, E] int64: video row, entity row.
    """

    ids: Vocabulary
    edges: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_pairs(
        cls, videos: Vocabulary, video_ids: pl.Series, entity_ids: pl.Series, source: Source | None = None
    ) -> Entities:
        """Entities from (raw video id, raw entity id) pairs; a pair given twice is one edge."""
        rows = videos.rows(video_ids, source=source or Source())
        ids, entity = Vocabulary.factorise(entity_ids, source or Source())
        pairs = np.unique(np.stack([rows, entity]), axis=1) if len(rows) else np.zeros((2, 0), dtype=np.int64)
        return cls(ids, as_tensor(pairs))
