"""Parquet and CSV files of one's own, and frames in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.aligning import ID_COLUMNS
from mmgraph.data.checks import first_line, near
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.tables import existing


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
        interactions: the file, or a folder of part files, also in folders such as ``day=2024-05-14/`` (as Spark writes
            them), whose names become a column.
        users, videos: the tables, when there are any.
        columns: read only these columns of the interactions: a wide log of 20 M rows costs what it is read for.
        **options: of :meth:`Dataset.from_frames`: ``user``, ``video``, ``time``, ``features``, ``duplicates``, ….

    Raises:
        DataError: not Parquet; and see :meth:`Dataset.from_frames`.
    """
    _check_options(options, read_parquet)
    found = Findings()
    tables, sources = {}, {}
    for what, path in (("interactions", interactions), ("users", users), ("videos", videos)):
        wanted = columns if what == "interactions" else None
        sources[what] = Source(path)
        tables[what] = None if path is None else found.attempt(_parquet, path, wanted)
    return _dataset(tables, sources, interactions, options, found, "Parquet")


def read_csv(
    interactions: str | Path,
    users: str | Path | None = None,
    videos: str | Path | None = None,
    *,
    columns: Sequence[str] | None = None,
    header: bool | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    quote: str | None = "auto",
    text_ids: Sequence[str] = (),
    **options: Any,
) -> Dataset:
    """Read CSV tables (or tab-separated ones, …) with raw ids.

    An id column holds integers when every value is the plain decimal of itself, else text as it is written: ``007``,
    ``1E+12`` and 17205319648811204961 come back as they are. What the content decided (separator, quotes, the order of
    dates) is in ``dataset.origin.notes``.

    Args:
        interactions, users, videos: the files; gzip, bzip2 and xz are unpacked.
        columns: names for the interactions' columns, when the file has no header.
        header: whether the first line of the interactions names the columns; by default as its content says.
        separator: between fields; by default what all lines agree on.
        encoding: of the text, UTF-8 by default: ``latin-1``, ``gb18030``, ….
        quote: the sign around fields; None where quotes are letters. By default ``"`` where that makes sense.
        text_ids: id columns to keep as text even when all are integers.
        **options: of :meth:`Dataset.from_frames`: ``user``, ``video``, ``time``, ``time_format``, ``duplicates``, ….

    Raises:
        DataError: see :meth:`Dataset.from_frames` and
            :func:`mmgraph.data.readers.delimited.read_table`.
    """
    _check_options(options, read_csv)
    found = Findings()
    tables, sources = {}, {}
    ids = [name for part in ("user", "video") for name in (options.get(part), *ID_COLUMNS[part]) if name is not None]
    called = [name for part in ("user", "video", "time", "weight") if (name := options.get(part)) is not None]
    written = {"separator": separator, "encoding": encoding, "quote": quote}
    for what, path in (("interactions", interactions), ("users", users), ("videos", videos)):
        named = {"columns": columns, "header": header, "called": called} if what == "interactions" else {}
        read = None
        if path is not None:
            read = found.attempt(read_table, path, ids=ids, text=text_ids, **written, **named)
        tables[what], sources[what] = read or (None, Source(path))
    return _dataset(tables, sources, interactions, options, found, "CSV")


def _check_options(options: dict[str, Any], reader: Callable) -> None:
    """Raises a TypeError for an option that Dataset.from_frames does not have, with the one that is close."""
    known = [n for n in signature(Dataset.from_frames).parameters if not n.endswith("source") and n != "interactions"]
    own = [n for n, p in signature(reader).parameters.items() if p.kind is not p.VAR_KEYWORD]
    for name in options:
        if name not in known:
            raise TypeError(f"{reader.__name__} has no argument {name!r}{near(name, [*own, *known])}")


def _dataset(
    tables: dict[str, Any],
    sources: dict[str, Source],
    path: str | Path,
    options: dict[str, Any],
    found: Findings,
    layout: str,
) -> Dataset:
    """The dataset of those tables that could be read, unless ``found`` knows of one that could not."""
    options.setdefault("name", Path(path).name.removesuffix(".gz").rsplit(".", 1)[0] or Path(path).stem)
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
    return replace(dataset, origin=replace(dataset.origin, layout=layout))


def _parquet(path: str | Path, columns: Sequence[str] | None) -> pl.DataFrame:
    path = existing(path)
    where = path
    if path.is_dir():
        parts = [p for p in path.rglob("*.parquet") if not p.name.startswith((".", "_"))]
        if not parts:
            raise DataError("no .parquet file is in this folder", file=path, fix="name the folder of the part files")
        where = path / "**/*.parquet"
    try:
        return pl.read_parquet(
            where, columns=None if columns is None else list(columns), hive_partitioning=path.is_dir()
        )
    except pl.exceptions.ColumnNotFoundError as error:
        raise DataError(f"a column is missing: {first_line(error)}", file=path, fix="correct columns=") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"not Parquet: {first_line(error)}", file=path, fix="write it again, or use read_csv"
        ) from error
    except BaseException as error:  # a damaged file makes polars panic, which is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise DataError("damaged: polars cannot decode it", file=path, fix="copy or write the file again") from error
