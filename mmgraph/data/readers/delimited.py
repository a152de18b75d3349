"""Delimited text (CSV and its relatives) into tables: what the content proves is decided and said, the rest is asked.

Ids keep their spelling: every column is read as text first, and becomes numbers only when all of it is. A file whose
length proves that its whole numbers are written plainly is read as numbers at once, to the same table.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.checks import check_columns, first_line
from mmgraph.data.errors import DataError, Source
from mmgraph.data.readers.dialect import STAND_IN, Dialect, find_dialect, records
from mmgraph.data.readers.packed import not_utf8, opener_of, text_file, unpacked
from mmgraph.data.vocabulary import plain_integers, text_ids, written_length

ID_NAME = re.compile(r"(^|[_\W])(ids?|asin|isbn|uuid|guid|sku|ean|upc)$|[a-z](Id|ID|Ids|IDs)$", re.IGNORECASE)
_TRUE_FALSE = {"true": True, "false": False}


def read_table(
    path: str | Path,
    *,
    required: Sequence[str] = (),
    ids: Sequence[str] = (),
    text: Sequence[str] = (),
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    quote: str | None = "auto",
    columns: Sequence[str] | None = None,
    called: Sequence[str] = (),
) -> tuple[pl.DataFrame, Source]:
    """A table from delimited text, and its source for later errors (true lines, and in ``notes`` what was decided).

    Args:
        path: the file; gzip, bzip2 and xz are unpacked.
        required: columns that must exist.
        ids: columns of ids: integers when every value is the plain decimal of itself, else text as written. So are all
            columns whose name ends like one (``…_id``, ``asin``).
        text: columns kept as written.
        separator: between fields; by default what all lines agree on of tab, comma, semicolon, ``::``, bar, blank.
        encoding: UTF-8 by default (or UTF-16 with its mark).
        header: whether the first line names the columns; by default it does unless one of its fields is a number or a
            date.
        quote: the sign around fields; None where quotes are letters. By default ``"``, unless that makes no sense.
        columns: names, for a file without a header (or in place of it).
        called: what the caller calls some columns: where the file has no header and these are values of its first line,
            each column is called by its value there.

    Raises:
        DataError: no such file, nothing in it, another format, no header, a name used twice, text that is not in the
            encoding (with the line), a line with more or fewer fields than the others, a missing column.
    """
    path = text_file(path)
    dialect = find_dialect(path, separator, encoding, header, quote, columns, called)
    frame = _plainly(path, dialect, text)
    if frame is None:
        frame = _polars(path, dialect)
    source = Source(
        path,
        first_line=1 + dialect.skip + dialect.header,
        lines=lambda: [line for line, _ in records(path, dialect)][dialect.skip + dialect.header :],
        notes=dialect.notes,
    )
    if frame.width > 1 and frame.height and frame[frame.columns[-1]].null_count():
        blank = pl.select(pl.all_horizontal(*(frame[c].is_null() for c in frame.columns))).to_series()
        _refuse_short(path, dialect, frame.width)
        if blank.any():  # empty lines
            rows = (~blank).arg_true()
            frame, source = frame[rows], source.of_rows(rows.to_numpy())
    check_columns(frame, required, source)
    typed = [_typed(c, c.name in ids or bool(ID_NAME.search(c.name)), c.name in text) for c in frame]
    return pl.DataFrame(typed), source


def _plainly(path: Path, dialect: Dialect, text: Sequence[str]) -> pl.DataFrame | None:
    """Columns of whole numbers as numbers, the others as text; None where that might lose how something is written.

    Whatever is not written plainly (007, +7, quotes, blanks, an empty line) only makes the file longer than its values
    take: where the lengths agree in sum they agree in each place.
    """
    if len(dialect.separator) > 1 or dialect.encoding != "utf-8" or dialect.skip or opener_of(path) is not None:
        return None
    names = list(dialect.names)
    options: dict[str, Any] = {"separator": dialect.separator, "quote_char": dialect.quote, "has_header": False}
    options |= {"skip_lines": int(dialect.header), "infer_schema": False}
    schema: dict[str, Any] = dict.fromkeys(names, pl.String)
    with contextlib.suppress(pl.exceptions.PolarsError), path.open("rb") as file:
        first = len(file.readline()) if dialect.header else 0
        head = pl.read_csv(path, n_rows=100, schema=schema, **options)
        whole = [c.name for c in head if c.name not in text and c.null_count() < len(c) and _plain(c)]
        if not whole:
            return None
        frame = pl.read_csv(path, schema=schema | dict.fromkeys(whole, pl.Int64), **options)
        if frame[names[-1]].null_count():
            return None
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - 1, 0))
        ends = len(frame) - (file.read(1) != b"\n")
        taken = sum(written_length(frame[name]) for name in names)
        return frame if first + taken + (len(names) - 1) * len(frame) + ends == size else None
    return None


def _plain(column: pl.Series) -> bool:
    return plain_integers(column).null_count() == column.null_count()


def _polars(path: Path, dialect: Dialect) -> pl.DataFrame:
    """All columns as text."""
    source: Path | io.BytesIO = path
    separator = dialect.separator
    if len(separator) > 1 or not dialect.encoding.startswith("utf-8") or opener_of(path) is not None:
        raw = unpacked(path)
        if not dialect.encoding.startswith("utf-8"):
            try:
                raw = raw.decode(dialect.encoding).encode()
            except UnicodeDecodeError as error:
                line = raw.count(b"\n", 0, error.start) + 1
                problem = f"byte 0x{raw[error.start]:02x} is not {dialect.encoding}"
                raise DataError(problem, file=path, line=line, fix="pass another encoding=") from error
        if len(separator) > 1:
            if STAND_IN.encode() in raw:
                problem = "the text holds control characters (0x1f) beside a separator of several characters"
                raise DataError(problem, file=path, fix="write it with one-character separators")
            raw, separator = raw.replace(separator.encode(), STAND_IN.encode()), STAND_IN
        source = io.BytesIO(raw)
    try:
        frame = pl.read_csv(
            source,
            separator=separator,
            quote_char=dialect.quote,
            has_header=False,
            skip_lines=dialect.skip,
            schema={f"{place}": pl.String for place in range(len(dialect.names))},
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise explain(path, dialect, error) from error
    if dialect.header:
        frame = frame[1:]
    frame.columns = list(dialect.names)
    return frame


def explain(path: Path, dialect: Dialect, error: Exception) -> DataError:
    """Why polars could not read the file: find the line ourselves."""
    wrong = not_utf8(path, offer=True) if dialect.encoding.startswith("utf-8") else None
    if wrong is not None:
        return wrong
    width = len(dialect.names)
    try:
        wide = [(line, len(fields)) for line, fields in records(path, dialect, strict=True) if len(fields) > width]
    except DataError as quotes:
        return quotes
    if wide:
        under = f"a header of {width}" if dialect.header else f"{width} columns"
        rows = [line for line, _ in wide]
        return Source(path, first_line=0).error(
            f"{wide[0][1]} fields under {under}",
            rows=rows,
            fix=f"quote the field that holds {dialect.separator!r}"
            + ("" if dialect.quote is None else ", or pass quote=None where quotes are letters"),
        )
    return DataError(f"not a table: {first_line(error)}", file=path, fix="check separator= and quote=")


def _refuse_short(path: Path, dialect: Dialect, width: int) -> None:
    """Raises a DataError for lines with fewer fields than columns: their last values are unknown, not missing."""
    short = [(line, len(fields)) for line, fields in records(path, dialect) if fields and len(fields) < width]
    if short:
        under = f"a header of {width}" if dialect.header else f"{width} columns"
        raise Source(path, first_line=0).error(
            f"{short[0][1]} fields under {under}",
            rows=[line for line, _ in short],
            fix="complete the line (an empty field is written with its separator)",
        )


def _typed(column: pl.Series, is_id: bool, as_text: bool) -> pl.Series:
    """Numbers where all of the text is, without losing how an id is spelled; else the text."""
    if column.dtype == pl.Int64 or as_text or column.null_count() == len(column):
        return column
    if is_id:
        return text_ids(column)
    head = column.drop_nulls().head(100)
    if plain_integers(head).null_count():
        if head.str.contains(r"^[-+]?\d+$").all():  # 007: a name, whatever the column is called
            return column
        low = head.str.to_lowercase()
        if low.is_in(list(_TRUE_FALSE)).all():
            made = column.str.to_lowercase().replace_strict(_TRUE_FALSE, default=None, return_dtype=pl.Boolean)
            return column if made.null_count() > column.null_count() else made
        numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
        return column if numbers.null_count() > column.null_count() else numbers
    whole = plain_integers(column)
    if whole.null_count() == column.null_count():
        return whole
    if column.drop_nulls().str.contains(r"^[-+]?\d+$").all():
        return column
    numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    return column if numbers.null_count() > column.null_count() else numbers
