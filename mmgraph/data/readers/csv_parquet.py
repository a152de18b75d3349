"""Parquet and CSV files of one's own, and frames in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.readers.tables import existing
from mmgraph.data.readers.tables import read_csv as read_csv_table


def from_frame(frame: Any, **options: Any) -> Dataset:
    """A dataset from one polars or pandas frame of interactions: :meth:`Dataset.from_frames` under a reader's name."""
    return Dataset.from_frames(frame, **options)


def read_parquet(
    interactions: str | Path,
    users: str | Path | None = None,
    videos: str | Path | None = None,
    *,
    columns: Sequence[str] | None = None,
    **options: Any,
) -> Dataset:
    """Read Parquet tables with raw ids.

    Args:
        interactions: the file, or a folder of part files.
        users, videos: the tables, when there are any.
        columns: read only these columns of the interactions: a wide log of 20 M rows costs what it is read for.
        **options: of :meth:`Dataset.from_frames`: ``user``, ``video``, ``time``, ``features``, ``duplicates``, ….

    Raises:
        DataError: not Parquet; and see :meth:`Dataset.from_frames`.
    """
    found = Findings()
    tables, sources = {}, {}
    for what, path in (("interactions", interactions), ("users", users), ("videos", videos)):
        wanted = columns if what == "interactions" else None
        sources[what] = Source(path)
        tables[what] = None if path is None else found.attempt(_parquet, path, wanted)
    return _dataset(tables, sources, interactions, options, found)


def read_csv(
    interactions: str | Path,
    users: str | Path | None = None,
    videos: str | Path | None = None,
    *,
    separator: str = ",",
    text_ids: Sequence[str] = (),
    **options: Any,
) -> Dataset:
    """Read CSV tables with raw ids.

    Args:
        interactions, users, videos: the files.
        separator: between fields.
        text_ids: id columns to keep as written; others become integers when all their values are.
        **options: of :meth:`Dataset.from_frames`.

    Raises:
        DataError: see :meth:`Dataset.from_frames`; also a file that is not UTF-8 or not a table.
    """
    found = Findings()
    tables, sources = {}, {}
    for what, path in (("interactions", interactions), ("users", users), ("videos", videos)):
        read = None if path is None else found.attempt(read_csv_table, path, text=text_ids, separator=separator)
        tables[what], sources[what] = read or (None, Source(path))
    return _dataset(tables, sources, interactions, options, found)


def _dataset(
    tables: dict[str, Any], sources: dict[str, Source], path: str | Path, options: dict[str, Any], found: Findings
) -> Dataset:
    """The dataset of those tables that could be read, unless ``found`` knows of one that could not."""
    options.setdefault("name", Path(path).stem)
    interactions, dataset = tables.pop("interactions"), None
    if interactions is not None:
        dataset = found.attempt(
            Dataset.from_frames,
            interactions,
            tables.pop("users"),
            tables.pop("videos"),
            source=sources["interactions"],
            users_source=sources["users"],
            videos_source=sources["videos"],
            **options,
        )
    if found or dataset is None:
        raise found.error()
    return dataset


def _parquet(path: str | Path, columns: Sequence[str] | None) -> pl.DataFrame:
    path = existing(path)
    where = path / "*.parquet" if path.is_dir() else path
    try:
        return pl.read_parquet(where, columns=None if columns is None else list(columns))
    except pl.exceptions.ColumnNotFoundError as error:
        raise DataError(
            f"a column is missing: {str(error).splitlines()[0]}", file=path, fix="correct columns="
        ) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"not Parquet: {str(error).splitlines()[0]}", file=path, fix="write it again, or use read_csv"
        ) from error
