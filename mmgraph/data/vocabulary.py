"""Raw ids and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.errors import Source, UnknownIdError

_IN_MEMORY = Source()
_TENS = 10 ** np.arange(1, 19, dtype=np.int64)


class Vocabulary:
    """Raw ids in row order: row ``r`` of every table, matrix and node type belongs to ``ids[r]``.

    Ids are integers (kept as Int64) or text; integers beyond 64 bits with a sign are kept as their decimals. Looking
    up accepts either: ``rows(["7"])`` works on integer ids and ``rows([7])`` on text ids, but ``007`` is not 7.

    Args:
        ids: the raw ids, one a row, each once.

    Raises:
        DataError: an id is missing (null) or appears twice.
    """

    def __init__(self, ids: pl.Series | Sequence[Any] | NDArray, source: Source = _IN_MEMORY) -> None:
        series = as_ids(ids, source)
        if series.n_unique() < len(series):
            again = series.is_first_distinct().not_().arg_true()
            raise source.error(
                f"id {series[again[0]]!r} appears a second time",
                rows=again.to_numpy(),
                column=series.name or None,
                fix="keep one row for each id",
            )
        self.ids = series

    @classmethod
    def factorise(cls, ids: pl.Series, source: Source = _IN_MEMORY) -> tuple[Vocabulary, NDArray[np.int64]]:
        """The sorted distinct ids, and the row [E] of each value."""
        series = as_ids(ids, source)
        if series.dtype == pl.Int64:
            values = series.to_numpy()
            table = _presence(values)
            if table is not None:
                low, present = table
                lookup = np.cumsum(present, dtype=np.int64) - 1
                distinct = np.flatnonzero(present) + low
                return cls._trusted(pl.Series(series.name, distinct)), lookup[values - low]
            distinct, rows = np.unique(values, return_inverse=True)
            return cls._trusted(pl.Series(series.name, distinct)), rows.astype(np.int64, copy=False)
        vocabulary = cls._trusted(series.unique().sort())
        return vocabulary, vocabulary._lookup(series)

    @classmethod
    def _trusted(cls, ids: pl.Series) -> Vocabulary:
        vocabulary = cls.__new__(cls)
        vocabulary.ids = ids
        return vocabulary

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, raw: object) -> bool:
        return raw is not None and bool(self.find([raw])[0] >= 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.equals(other.ids)

    __hash__ = None  # type: ignore[assignment]  # equal by value, and too large to hash by value

    def __repr__(self) -> str:
        shown = ", ".join(repr(i) for i in self.ids.head(3))
        return f"Vocabulary({len(self)} ids: {shown}{', …' if len(self) > 3 else ''})"

    def find(self, raw_ids: pl.Series | Sequence[Any] | NDArray) -> NDArray[np.int64]:
        """The row of each raw id, -1 where it is unknown. Shape [n]."""
        series = as_ids(raw_ids)
        if self.ids.dtype == pl.Int64 and series.dtype == pl.String:
            return self._lookup(plain_integers(series))
        return self._lookup(series.cast(self.ids.dtype))

    def rows(
        self, raw_ids: pl.Series | Sequence[Any] | NDArray, *, source: Source = _IN_MEMORY, column: str | None = None
    ) -> NDArray[np.int64]:
        """The row of each raw id. Shape [n].

        Raises:
            UnknownIdError: (a KeyError and a DataError) the first id that is not here, named.
        """
        series = as_ids(raw_ids, source)
        rows = self.find(series)
        if len(rows) and rows.min() < 0:
            unknown = np.flatnonzero(rows < 0)
            first = int(unknown[0])
            raise UnknownIdError(
                f"unknown id {series[first]!r} ({len(unknown)} of {len(rows)} values; {len(self)} ids are known"
                + f"{self._spelled_otherwise(series[first])})"
                + ("" if source is _IN_MEMORY else source.also(unknown)),
                column=column or series.name or None,
                fix="add it to the table that lists the ids, or drop the row",
                **(source.place(first) if source is not _IN_MEMORY or len(rows) > 1 else {}),
            )
        return rows

    def raw(self, rows: Iterable[int] | NDArray | Tensor) -> list[Any]:
        """The raw id of each row [n]; a mask is no list of rows.

        Raises:
            TypeError: rows that are not whole numbers.
            IndexError: a row below 0 or from ``len(self)`` on.
        """
        if isinstance(rows, Tensor):
            rows = rows.detach().cpu().numpy()
        if not isinstance(rows, Iterable) or isinstance(rows, str):
            raise TypeError(f"rows must be a list of whole numbers, got {rows!r}")
        index = np.asarray(rows if isinstance(rows, (np.ndarray, Sequence, pl.Series)) else list(rows)).reshape(-1)
        if not index.size:
            return []
        if index.dtype.kind not in "iu":
            raise TypeError(f"rows of type {index.dtype}: give whole numbers from 0 to {len(self) - 1}")
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= len(self):
            bad = low if low < 0 else high
            raise IndexError(f"row {bad} is outside the {len(self)} ids: rows go from 0 to {len(self) - 1}")
        return self.ids.gather(index).to_list()

    def _spelled_otherwise(self, unknown: Any) -> str:
        """``, 'é' among them in another Unicode form`` and the like: why an id that looks known is not."""
        ids, text = self.ids.cast(pl.String), pl.Series([str(unknown)])
        for how, form in _SPELLINGS:
            same = form(ids) == form(text)[0]
            if same.any():
                return f", {self.ids[int(same.arg_max() or 0)]!r} among them: {how}"
        return ""

    @cached_property
    def _index(self) -> tuple[str, Any]:
        if self.ids.dtype != pl.Int64:
            return "text", self.ids.cast(pl.String).to_frame("id").with_columns(
                row=pl.int_range(pl.len(), dtype=pl.Int64)
            )
        ids = self.ids.to_numpy()
        table = _presence(ids)
        if table is not None:
            low, present = table
            lookup = np.full(len(present), -1, dtype=np.int64)
            lookup[ids - low] = np.arange(len(ids))
            return "table", (low, lookup)
        order = np.argsort(ids, kind="stable")
        return "sorted", (ids[order], order)

    def _lookup(self, series: pl.Series) -> NDArray[np.int64]:
        """Rows of values that already have the dtype of ``ids``; -1 for null and unknown."""
        if not len(self.ids):
            return np.full(len(series), -1, dtype=np.int64)
        kind, index = self._index
        if kind == "text":
            joined = series.alias("id").to_frame().join(index, on="id", how="left", maintain_order="left")
            return joined["row"].fill_null(-1).to_numpy()
        known = series.is_not_null().to_numpy()
        values = series.fill_null(0).to_numpy()
        if kind == "table":
            low, lookup = index
            inside = (values >= low) & (values < low + len(lookup)) & known
            if inside.all():
                return lookup[values - low]
            return np.where(inside, lookup[np.where(inside, values - low, 0)], -1)
        ids, order = index
        place = np.minimum(np.searchsorted(ids, values), len(ids) - 1)
        return np.where((ids[place] == values) & known, order[place], -1)


def _presence(values: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]] | None:
    """(lowest id, which ids of the range occur) when the range is dense enough for a table, else None."""
    if not len(values):
        return None
    low, high = int(values.min()), int(values.max())
    if high - low >= 4 * len(values) + 1_000_000:
        return None
    present = np.zeros(high - low + 1, dtype=bool)
    present[values - low] = True
    return low, present


_SPELLINGS: tuple[tuple[str, Callable[[pl.Series], pl.Series]], ...] = (
    ("the same in another Unicode form", lambda ids: ids.str.normalize("NFC")),
    ("the same but for blanks", lambda ids: ids.str.strip_chars()),
    ("the same but for leading zeros", lambda ids: ids.str.strip_chars_start("0")),
    ("the same but for capitals", lambda ids: ids.str.to_lowercase()),
)


def plain_integers(text: pl.Series) -> pl.Series:
    """Int64 where the text is the plain decimal of an integer, written as Python writes it; null elsewhere."""
    numbers = text.cast(pl.Int64, strict=False)
    values = numbers.fill_null(0).to_numpy()
    # as long as its digits: no zeros in front, no plus, not -0 (the smallest integer has no positive twin)
    digits = np.searchsorted(_TENS, np.abs(np.maximum(values, -(2**63) + 1)), side="right") + 1 + (values < 0)
    plain = digits == text.str.len_bytes().fill_null(0).to_numpy()
    if plain.all():
        return numbers
    return numbers.zip_with(pl.Series(plain), pl.Series([None], dtype=pl.Int64))


def written_length(column: pl.Series) -> int:
    """How many bytes the values take as text: whole numbers as their plain decimals, nothing for null."""
    if column.dtype == pl.String:
        return int(column.str.len_bytes().sum())
    values = column.drop_nulls().to_numpy()
    if not len(values):
        return 0
    size, signs = values.view(np.uint64), 0
    if values.min() < 0:
        negative = values < 0
        size, signs = np.where(negative, np.uint64(0) - size, size), int(negative.sum())
    least, most = len(str(int(size.min()))), int(size.max())
    total, bound = signs + least * len(size), 10**least
    while bound <= most:  # one digit more for each power of ten reached
        total, bound = total + int((size >= np.uint64(bound)).sum()), 10 * bound
    return total


def text_ids(text: pl.Series) -> pl.Series:
    """Ids read from text: Int64 when every one is the plain decimal of itself, else the text as it is written."""
    if len(text) and not _may_be_plain(text.head(100)):
        return text  # most names show in the first lines
    numbers = plain_integers(text)
    return text if numbers.null_count() > text.null_count() else numbers


def _may_be_plain(text: pl.Series) -> bool:
    return plain_integers(text).null_count() == text.null_count()


def as_ids(ids: pl.Series | Sequence[Any] | NDArray | Tensor, source: Source = _IN_MEMORY) -> pl.Series:
    """Ids as a polars series of Int64 or String.

    Raises:
        DataError: a missing id, or a type that cannot be an id (a float with a fraction, a list).
    """
    if isinstance(ids, Tensor):
        ids = ids.detach().cpu().numpy()
    series = ids if isinstance(ids, pl.Series) else _series(ids, source)
    column = series.name or None
    if series.null_count():
        rows = series.is_null().arg_true().to_numpy()
        raise source.error("the id is missing", rows=rows, column=column, fix="fill it in or drop the row")
    if series.dtype.is_float():
        whole = ((series == series.round(0)) & (series.abs() <= 2.0**53)).fill_null(False)
        if not whole.all():
            rows = (~whole).arg_true().to_numpy()
            value = series[int(rows[0])]
            why = "" if value != value or abs(value) <= 2.0**53 else ": a float keeps 15 digits of it"
            raise source.error(
                f"{value!r} is not an id{why}", rows=rows, column=column, fix="use integers or text for ids"
            )
        return series.cast(pl.Int64)
    if series.dtype == pl.Null or series.dtype.is_integer():
        numbers = series.cast(pl.Int64, strict=False)
        return series.cast(pl.String) if numbers.null_count() else numbers
    if series.dtype in (pl.String, pl.Categorical) or isinstance(series.dtype, pl.Enum):
        return series.cast(pl.String)
    raise source.error(f"ids of type {series.dtype}", column=column, fix="use integers or text for ids")


def _series(ids: Sequence[Any] | NDArray, source: Source) -> pl.Series:
    """A series of one type; Python's integers may be of any size."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise source.error(f"ids must be a list or a series of ids, got {ids!r}", fix="give one id a row")
    values = ids if isinstance(ids, np.ndarray) and ids.dtype.kind != "O" else list(ids)
    try:
        return pl.Series("", values)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        if isinstance(values, list) and {type(v) for v in values} == {int}:
            return pl.Series("", [str(v) for v in values])
        raise source.error(f"ids mix types ({error})", fix="give all ids as text or all as integers") from error


def one_spelling(ids: pl.Series, source: Source, column: str | None = None) -> None:
    """Raises a DataError where two ids are one name in two Unicode forms: neither merged nor split without a word."""
    if ids.dtype != pl.String or bool((ids.str.len_bytes() == ids.str.len_chars()).all()):
        return
    forms = ids.str.normalize("NFC")
    if forms.n_unique() == ids.n_unique():
        return
    table = pl.DataFrame({"form": forms, "id": ids, "row": pl.int_range(len(ids), eager=True)})
    twice = table.unique(["form", "id"], keep="first", maintain_order=True).filter(pl.len().over("form") > 1)
    pair = twice.filter(pl.col("form") == twice["form"][0])
    points = [" ".join(f"U+{ord(c):04X}" for c in text) for text in pair["id"][:2]]
    raise source.error(
        f"id {pair['id'][0]!r} is spelled in two Unicode forms ({points[0]} and {points[1]})",
        rows=pair["row"].to_numpy(),
        column=column,
        fix="pass unicode='NFC' to make them one, or unicode='keep' when they are two",
    )


def as_tensor(rows: NDArray[np.int64]) -> Tensor:
    """Rows as a torch tensor that owns writable memory."""
    return torch.from_numpy(np.array(rows, dtype=np.int64))
