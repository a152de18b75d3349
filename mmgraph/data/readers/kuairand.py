"""KuaiRand: feeds of Kuaishou with videos shown at random among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from mmgraph.data.checks import Duplicates, check_columns, check_word, numbers
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.feeds import data_folder, feed_dataset, optional_table, table_of
from mmgraph.data.readers.media_folder import column_entities
from mmgraph.data.readers.tables import existing

_IDS = ("user_id", "video_id")


def read_kuairand(
    path: str | Path,
    *,
    logs: Literal["standard", "random", "both"] = "standard",
    signal: str = "is_click",
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read KuaiRand (Pure, 1K or 27K): feeds in which some videos were shown at random.

    Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos", CIKM 2022,
    https://doi.org/10.1145/3511808.3557624. Exposures hold every row with its signals (``is_like``, ``long_view``,
    ``play_time_ms``, …), ``is_rand`` (1: shown at random) and ``tab`` (which feed); ``click`` is ``signal``.
    Interactions are the rows where it is 1. Users' columns come from user_features…csv; videos' from
    video_features_basic…csv; entities ``creator``, ``music`` and ``tag``. The statistics file, which knows the future,
    is not read.

    Args:
        path: the unpacked folder, or the ``data`` in it.
        logs: the standard feeds, those with random videos, or both.
        signal: which column says that a video was taken: ``is_click``, ``long_view``, ``is_like``, ….
        duplicates: a video taken again repeats a pair: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: no such log, a missing column; and see :meth:`Dataset.from_frames`.
    """
    check_word(logs, ("standard", "random", "both"), "logs")
    folder = data_folder(existing(path, "folder"))
    kinds = ("standard", "random") if logs == "both" else (logs,)
    places = [f for kind in kinds for f in sorted(folder.glob(f"log_{kind}_*.csv"))]
    if not places:
        raise DataError(f"there is no log_{kinds[0]}_….csv", file=folder, fix="give the unpacked folder")
    found = Findings()
    read = [found.attempt(read_table, f, required=(*_IDS, "time_ms", signal), ids=_IDS) for f in places]
    files = [*places]
    people = _first(folder, "user_features*.csv", ("user_id",), found, files)
    basic = _first(folder, "video_features_basic*.csv", ("video_id",), found, files)
    if found:
        raise found.error()
    tables = [r for r in read if r is not None]
    frame = pl.concat([table for table, _ in tables], how="diagonal_relaxed") if len(tables) > 1 else tables[0][0]
    source = tables[0][1] if len(tables) == 1 else Source(f"{folder} (its logs one after another)")
    frame = frame.drop([c for c in ("date", "hourmin") if c in frame.columns])
    check_columns(frame, [signal], source)
    made = feed_dataset(
        frame,
        source,
        numbers(frame[signal], source, pl.Float64) > 0,
        f"{signal} above 0",
        table_of(frame["user_id"], people),
        table_of(frame["video_id"], basic),
        time="time_ms",
        time_unit="ms",
        duplicates=duplicates,
        name=name or folder.resolve().name.replace("data", folder.resolve().parent.name).lower(),
    )
    entities = {}
    for entity, column, separator in (("creator", "author_id", "|"), ("music", "music_id", "|"), ("tag", "tag", ",")):
        if column in made.videos.columns:
            entities[entity] = column_entities(made, column, separator)
    return replace(made, entities=entities, origin=replace(made.origin, layout="KuaiRand", files=tuple(files)))


def _first(
    folder: Path, pattern: str, required: Sequence[str], found: Findings, files: list[Path]
) -> pl.DataFrame | None:
    places = sorted(folder.glob(pattern))
    return optional_table(places[0], required, found, files) if places else None
