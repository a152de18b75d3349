"""Logs of feeds, where every row was shown: the taken ones are interactions, all of them exposures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import Findings, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.impressions import exposure_table
from mmgraph.data.times import TimeUnit, times
from mmgraph.data.vocabulary import Vocabulary

_IDS = ("user_id", "video_id")


def data_folder(folder: Path) -> Path:
    """The folder itself, or the ``data/`` in it that the archives have."""
    return folder / "data" if (folder / "data").is_dir() else folder


def feed_dataset(
    frame: pl.DataFrame,
    source: Source,
    taken: pl.Series,
    what: str,
    users: pl.DataFrame,
    videos: pl.DataFrame,
    *,
    time: str | None,
    time_unit: TimeUnit | None = None,
    duplicates: Duplicates,
    name: str,
) -> Dataset:
    """Interactions where ``taken``, and every row as an exposure."""
    rows = taken.arg_true()
    if not len(rows):
        raise source.error(f"no row has {what}", fix="choose another signal, or a lower bound")
    user_ids, video_ids = Vocabulary(users["user_id"]), Vocabulary(videos["video_id"])
    others = [frame[c] for c in frame.columns if c not in (*_IDS, time)]
    if time is not None:
        others.append(times(frame[time], source, time_unit).seconds)
    shown = exposure_table(
        frame["user_id"], frame["video_id"], user_ids, video_ids, source, click=taken.cast(pl.Int8), others=others
    )
    made = Dataset.from_frames(
        frame[rows],
        users,
        videos,
        time=time,
        time_unit=time_unit,
        duplicates=duplicates,
        name=name,
        source=source.of_rows(rows.to_numpy()),
    )
    return replace(made, exposures=shown)


def optional_table(file: Path, required: Sequence[str], found: Findings, files: list[Path]) -> pl.DataFrame | None:
    """A table that may be missing, one row an id."""
    if not file.exists():
        return None
    read = found.attempt(read_table, file, required=required, ids=(required[0],))
    if read is None:
        return None
    files.append(file)
    return read[0]


def table_of(ids: pl.Series, table: pl.DataFrame | None) -> pl.DataFrame:
    """The ids that occur, sorted, with what a table tells of them."""
    known = ids.unique().sort().to_frame()
    if table is None:
        return known
    return join_by_id(known, table.unique(ids.name, keep="first", maintain_order=True))


def join_by_id(table: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    """The rows of a table, in their order, with the columns of another that has the same id column."""
    key = table.columns[0]
    if more[key].dtype != table[key].dtype:
        more = more.with_columns(pl.col(key).cast(table[key].dtype, strict=False))
    return table.join(more, on=key, how="left", maintain_order="left")
