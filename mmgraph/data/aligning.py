"""Tables with raw ids into rows: which column plays which part, and what belongs to which video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgraph.data.attached import Entities, Features
from mmgraph.data.checks import (
    check_columns,
    finite_matrix,
    to_polars,
)
from mmgraph.data.errors import Findings, Source
from mmgraph.data.vocabulary import Vocabulary, as_ids, one_spelling

ID_COLUMNS = {
    "user": ("user_id", "user", "userId", "userID"),
    "video": ("video_id", "video", "item_id", "item", "movieId", "itemID"),
}
_NAMES = {**ID_COLUMNS, "time": ("timestamp", "time"), "weight": ("weight",)}
Unicode = Literal["error", "keep", "NFC"]


def media_rows(videos: Vocabulary, files: Mapping[Any, Sequence[Path]], unicode: Unicode = "error") -> list[list[Path]]:
    """The sorted files of each video row, from files by raw id. An unknown id is a DataError."""
    rows: list[list[Path]] = [[] for _ in range(len(videos))]
    raw = list(files)
    for key, row in zip(raw, videos.rows(spelled(as_ids(raw), unicode)).tolist() if raw else []):
        rows[row] = sorted([*rows[row], *(Path(p) for p in files[key])])
    return rows


def spelled(ids: pl.Series, unicode: Unicode) -> pl.Series:
    """Text ids in the form that was asked for."""
    return ids.str.normalize("NFC") if unicode == "NFC" and ids.dtype == pl.String else ids


def column_of(frame: pl.DataFrame, part: str, given: str | None, source: Source) -> str | None:
    """The column that plays a part: the given one, which must exist, or the first usual name that does."""
    if given is not None:
        check_columns(frame, [given], source)
        return given
    return next((name for name in _NAMES[part] if name in frame.columns), None)


def needed_column(frame: pl.DataFrame, part: str, given: str | None, source: Source) -> str:
    """The same of a part that there must be a column for. Raises a DataError that says what columns there are."""
    found = column_of(frame, part, given, source)
    if found is None:
        check_columns(frame, [_NAMES[part][0]], source)
    return found or ""


def index_ids(
    ids: pl.Series,
    table: pl.DataFrame | None,
    part: str,
    column: str,
    source: Source,
    table_source: Source,
    unicode: Unicode = "keep",
) -> tuple[Vocabulary, NDArray[np.int64], pl.DataFrame]:
    """Vocabulary, the rows of ``ids`` and the table aligned with it, its first column the raw id."""
    key = f"{part}_id"
    ids = spelled(as_ids(ids, source), unicode)
    if table is None:
        vocabulary, rows = Vocabulary.factorise(ids, source)
        if unicode == "error":
            one_spelling(vocabulary.ids, Source(source.file), column)
        return vocabulary, rows, pl.DataFrame([vocabulary.ids.alias(key)])
    id_column = column if column in table.columns else needed_column(table, part, None, table_source)
    listed = table[id_column]
    listed = listed.str.normalize("NFC") if unicode == "NFC" and listed.dtype == pl.String else listed
    found = Findings()
    vocabulary = found.attempt(Vocabulary, listed, table_source)
    known = vocabulary
    if vocabulary is None and (listed.dtype == pl.String or listed.dtype.is_integer()):
        # a table that repeats an id, or lacks one, still tells which ids of the interactions are unknown
        known = Vocabulary(listed.drop_nulls().unique())
    if vocabulary is not None and unicode == "error":
        found.attempt(one_spelling, vocabulary.ids, table_source, id_column)
    rows = None if known is None else found.attempt(known.rows, ids, source=source, column=column)
    if found or vocabulary is None or rows is None:
        raise found.error()
    rest = [c for c in table.columns if c != id_column]
    if key in rest:
        problem = f"the ids are in {id_column!r}, and {key!r} is another column"
        raise table_source.error(problem, column=key, fix="rename one of them")
    return vocabulary, rows, table.select(vocabulary.ids.alias(key), *[table[c] for c in rest])


def features_of(
    modality: str, given: Any, videos: Vocabulary, *, known_order: bool, unicode: Unicode = "keep"
) -> Features:
    """The features of one modality, whatever they were given as, in the rows of the videos.

    Args:
        modality: for errors.
        given: a :class:`Features`, a matrix, or a pair of raw ids and a matrix.
        videos: the rows.
        known_order: whether a matrix may be in their order.
        unicode: the form of text ids.
    """
    source = Source(f"features[{modality!r}]")
    if isinstance(given, tuple) and len(given) == 2:
        return Features.aligned(videos, spelled(as_ids(given[0], source), unicode), given[1], source)
    if not known_order:
        raise source.error(
            "a matrix without a videos table has no row order", fix="pass videos=, or a pair (raw ids, matrix)"
        )
    return given if isinstance(given, Features) else Features(finite_matrix(given, "features", source))


def entities_of(videos: Vocabulary, pairs: Any, unicode: Unicode = "keep") -> Entities:
    """Entities from a table whose first two columns are raw video and entity ids; Entities as they are."""
    if isinstance(pairs, Entities):
        return pairs
    frame = to_polars(pairs)
    ids = spelled(as_ids(frame[frame.columns[0]]), unicode)
    return Entities.from_pairs(videos, ids, frame[frame.columns[1]])
