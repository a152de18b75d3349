"""The media folder: tables beside frames, sound and features."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.aligning import Unicode, media_rows
from mmgraph.data.checks import Duplicates, check_columns, numbers
from mmgraph.data.dataset import Dataset, Entities
from mmgraph.data.errors import DataError, Findings, Source, UnknownIdError
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.feature_folder import read_feature_folder
from mmgraph.data.readers.tables import existing, files_by_id
from mmgraph.data.times import TimeUnit
from mmgraph.data.vocabulary import Vocabulary

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac", ".opus", ".aif", ".aiff", ".wma", ".oga")
CLIPS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")
_MEDIA = {
    "image": ("video_frames", IMAGES),
    "audio": ("video_audio", SOUNDS),
    "video": ("videos", CLIPS),
}


def read_media_folder(
    path: str | Path,
    *,
    signal: str | None = None,
    entities: Sequence[str] = (),
    features: bool = True,
    time_unit: TimeUnit | None = None,
    time_format: str | None = None,
    columns: Sequence[str] | None = None,
    header: bool | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    duplicates: Duplicates = "error",
    unicode: Unicode = "error",
    name: str | None = None,
) -> Dataset:
    """Read a media folder.

    ::

        users.csv          user_id, age, gender, …                          (optional)
        videos.csv         video_id, title, duration, generate_method, …    (optional)
        interactions.csv   user_id, video_id, timestamp, click, finish, like, …
        video_frames/<id>/*.jpg            -> media["image"]      (png, webp, gif, bmp, tif, avif too)
        video_audio/<id>.wav or <id>/*.wav -> media["audio"]
        videos/<id>.mp4                    -> media["video"]
        features/<modality>.npy            rows as in features/video_ids.csv, or else as in videos.csv;
                                           <modality>_present.npy: bool, one a row

    Ids are text, as written. With users.csv or videos.csv their order is the row order.

    Args:
        signal: keep only interactions where this column is above zero, such as ``click``. A log of impressions needs
            it: without, an impression nobody clicked counts as an interaction.
        entities: columns of videos.csv that become :class:`Entities`; ``a|b`` and ``['a', 'b']`` are two of them.
        features: whether to read ``features/``.
        time_unit: unit of a numeric ``timestamp``.
        columns, header: of interactions.csv; separator, encoding: of all tables; see :func:`mmgraph.data.read_csv`.
        time_format, duplicates, unicode: see :meth:`Dataset.from_frames`. ``unicode="NFC"`` also matches folders that a
            Mac named.

    Raises:
        DataError: see :meth:`Dataset.from_frames`; also media of an unknown video, and feature files whose rows do
            not match videos.csv. What else is wrong in the folder is in its ``others``.
    """
    folder = existing(path, "folder")
    if not folder.is_dir():
        raise DataError("this is a file", file=folder, fix="give the folder that holds interactions.csv")
    found = Findings()
    written: dict[str, Any] = {"separator": separator, "encoding": encoding}
    log = found.attempt(_interactions, folder / "interactions.csv", signal, columns=columns, header=header, **written)
    users, users_source = _table(folder / "users.csv", "user_id", found, **written)
    videos, videos_source = _table(folder / "videos.csv", "video_id", found, **written)
    dataset = None
    if log is not None:
        interactions, source = log
        dataset = found.attempt(
            Dataset.from_frames,
            interactions,
            users,
            videos,
            user="user_id",
            video="video_id",
            time_unit=time_unit,
            time_format=time_format,
            duplicates=duplicates,
            unicode=unicode,
            name=name or folder.resolve().name,
            source=source,
            users_source=users_source,
            videos_source=videos_source,
        )
    else:
        for table, key, where in ((users, "user_id", users_source), (videos, "video_id", videos_source)):
            if table is not None:
                found.attempt(Vocabulary, table[key], where)
    listed = (folder / "videos.csv").exists()
    catalogue = None if dataset is None or (listed and videos is None) else dataset.video_ids
    if catalogue is None and videos is not None:  # its rows still tell whose features and media are there
        catalogue = Vocabulary(videos["video_id"].drop_nulls().unique())
    made = {}
    if features and catalogue is not None:
        made = found.attempt(read_feature_folder, folder / "features", catalogue, by_position=listed) or {}
    media = {} if catalogue is None else _media(folder, catalogue, found, unicode)
    if found or dataset is None:
        raise found.error()
    check_columns(dataset.videos, entities, videos_source)
    files = (*(file for file in dataset.origin.files if file.exists()), *((folder / "features",) if made else ()))
    return replace(
        dataset,
        features=made,
        media=media,
        entities={column: column_entities(dataset, column) for column in entities},
        origin=replace(dataset.origin, layout="media folder", files=files),
    )


def _interactions(file: Path, signal: str | None, **written: Any) -> tuple[pl.DataFrame, Source]:
    ids = ("user_id", "video_id")
    frame, source = read_table(file, required=ids, text=ids, **written)
    if signal is None:
        return frame, source
    check_columns(frame, [signal], source)
    return _above_zero(frame, signal, source)


def _table(file: Path, key: str, found: Findings, **written: Any) -> tuple[pl.DataFrame | None, Source]:
    """The table, None where there is no file or it cannot be read, and its source."""
    read = found.attempt(read_table, file, required=(key,), text=(key,), **written) if file.exists() else None
    return read or (None, Source(file, first_line=2))


def _above_zero(frame: pl.DataFrame, signal: str, source: Source) -> tuple[pl.DataFrame, Source]:
    """The rows whose signal is above zero, with a source that still knows their lines."""
    kept = (numbers(frame[signal], source, pl.Float64) > 0).arg_true().to_numpy()
    if not len(kept):
        raise source.error("no value is above zero", column=signal, fix="use another signal")
    return frame[kept], source.of_rows(kept)


def column_entities(dataset: Dataset, column: str, separator: str = "|") -> Entities:
    """Entities named in a column of the video table: several in one cell as a list, as text like ``[27, 9]`` or
    ``['a', 'b']``, or separated by ``|``."""
    cells = dataset.videos[column]
    if isinstance(cells.dtype, (pl.List, pl.Array)):
        lists = cells.cast(pl.List(pl.String))
    else:
        text = cells.cast(pl.String)
        lists = text.str.split(separator)
        if holds_lists(text):
            parsed = {cell: _parsed_list(cell) for cell in text.drop_nulls().unique()}
            lists = pl.Series(column, [None if c is None else parsed[c] for c in text], dtype=pl.List(pl.String))
    pairs = pl.DataFrame([dataset.videos["video_id"], lists.alias("entity")]).explode("entity")
    pairs = pairs.with_columns(pl.col("entity").str.strip_chars())
    pairs = pairs.filter(pl.col("entity").is_not_null() & (pl.col("entity") != ""))
    return Entities.from_pairs(dataset.video_ids, pairs["video_id"], pairs["entity"])


def holds_lists(text: pl.Series) -> bool:
    """Whether every cell is written as a list, ``[…]``."""
    known = text.drop_nulls()
    return len(known) > 0 and bool(known.str.contains(r"^\s*\[.*\]\s*$").all())


def _parsed_list(cell: str) -> list[str]:
    """The items of a list as JSON or Python writes it; bare words between commas otherwise."""
    for parse in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            made = parse(cell)
            if isinstance(made, list):
                return [str(item) for item in made if item is not None]
    return [item.strip().strip("'\"") for item in cell.strip()[1:-1].split(",")]


def _media(folder: Path, videos: Vocabulary, found: Findings, unicode: Unicode) -> dict[str, list[list[Path]]]:
    media = {}
    for kind, (where, suffixes) in _MEDIA.items():
        files = files_by_id(folder / where, suffixes)
        if not files:
            continue
        try:
            media[kind] = media_rows(videos, files, unicode)
        except UnknownIdError as error:
            fix = "add the video to videos.csv, or move its files away"
            found.add(UnknownIdError(error.problem, file=folder / where, fix=fix))
    return media
