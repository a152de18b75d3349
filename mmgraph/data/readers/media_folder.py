"""The media folder: tables beside frames, sound and features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mmgraph.data.checks import Duplicates, TimeUnit, check_columns, numbers
from mmgraph.data.dataset import Dataset, Entities, Features, media_rows
from mmgraph.data.errors import DataError, Source, UnknownIdError
from mmgraph.data.readers.tables import existing, files_by_id, read_csv, read_npy
from mmgraph.data.vocabulary import Vocabulary

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac")
CLIPS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
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
    time_unit: TimeUnit = "s",
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read a media folder.

    ::

        users.csv          user_id, age, gender, …                          (optional)
        videos.csv         video_id, title, duration, generate_method, …    (optional)
        interactions.csv   user_id, video_id, timestamp, click, finish, like, …
        video_frames/<id>/*.jpg            -> media["image"]
        video_audio/<id>.wav or <id>/*.wav -> media["audio"]
        videos/<id>.mp4                    -> media["video"]
        features/<modality>.npy            rows as in videos.csv; <modality>_present.npy: bool, one a row

    Ids are text, as written. With users.csv or videos.csv their order is the row order.

    Args:
        signal: keep only interactions where this column is above zero, such as ``click``. A log of impressions needs
            it: without, an impression nobody clicked counts as an interaction.
        entities: columns of videos.csv that become :class:`Entities`; ``a|b`` is two of them.
        features: whether to read ``features/``.
        time_unit: unit of ``timestamp``.
        duplicates: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: see :meth:`Dataset.from_frames`; also media of an unknown video, and feature files whose rows do
            not match videos.csv.
    """
    folder = existing(path, "folder")
    if not folder.is_dir():
        raise DataError("this is a file", file=folder, fix="give the folder that holds interactions.csv")
    interactions, source = read_csv(
        folder / "interactions.csv", required=("user_id", "video_id"), text=("user_id", "video_id")
    )
    tables: dict[str, pl.DataFrame | None] = {"users": None, "videos": None}
    sources = {}
    for what, key in (("users", "user_id"), ("videos", "video_id")):
        file = folder / f"{what}.csv"
        sources[what] = Source(file, first_line=2)
        if file.exists():
            tables[what], sources[what] = read_csv(file, required=(key,), text=(key,))
    if signal is not None:
        check_columns(interactions, [signal], source)
        interactions, source = _above_zero(interactions, signal, source)
    dataset = Dataset.from_frames(
        interactions,
        tables["users"],
        tables["videos"],
        user="user_id",
        video="video_id",
        time_unit=time_unit,
        duplicates=duplicates,
        name=name or folder.resolve().name,
        source=source,
        users_source=sources["users"],
        videos_source=sources["videos"],
    )
    made = dict(_features(folder / "features", len(dataset.video_ids))) if features else {}
    if made and tables["videos"] is None:
        raise DataError("features without videos.csv have no row order", file=folder / "features", fix="add videos.csv")
    check_columns(dataset.videos, entities, sources["videos"])
    return Dataset(
        **{
            **vars(dataset),
            "features": made,
            "media": _media(folder, dataset.video_ids),
            "entities": {column: column_entities(dataset, column) for column in entities},
        }
    )


def _above_zero(frame: pl.DataFrame, signal: str, source: Source) -> tuple[pl.DataFrame, Source]:
    """The rows whose signal is above zero, with a source that still knows their lines."""
    kept = (numbers(frame[signal], source, pl.Float64) > 0).arg_true().to_numpy()
    if not len(kept):
        raise source.error("no value is above zero", column=signal, fix="use another signal")
    return frame[kept], Source(source.file, source.first_line, kept.tolist())


def column_entities(dataset: Dataset, column: str, separator: str = "|") -> Entities:
    """Entities named in a text column of the video table, several in one cell separated by ``|``."""
    cells = dataset.videos.select(
        pl.col("video_id"), pl.col(column).cast(pl.String).str.split(separator).alias("entity")
    ).explode("entity")
    cells = cells.with_columns(pl.col("entity").str.strip_chars())
    cells = cells.filter(pl.col("entity").is_not_null() & (pl.col("entity") != ""))
    return Entities.from_pairs(dataset.video_ids, cells["video_id"], cells["entity"])


def _media(folder: Path, videos: Vocabulary) -> dict[str, list[list[Path]]]:
    media = {}
    for kind, (where, suffixes) in _MEDIA.items():
        found = files_by_id(folder / where, suffixes)
        if not found:
            continue
        try:
            media[kind] = media_rows(videos, found)
        except UnknownIdError as error:
            raise UnknownIdError(
                error.problem, file=folder / where, fix="add the video to videos.csv, or move its files away"
            ) from error
    return media


def _features(folder: Path, num_videos: int) -> list[tuple[str, Features]]:
    found = []
    for file in sorted(folder.glob("*.npy")) if folder.is_dir() else []:
        if file.stem.endswith("_present"):
            continue
        mask = file.with_name(f"{file.stem}_present.npy")
        found.append((file.stem, read_features(file, num_videos, present=mask if mask.exists() else None)))
    return found


def read_features(file: Path, num_videos: int, present: Path | None = None) -> Features:
    """Features of all videos from an ``.npy`` file [V, D] (float16 is cast), with an optional mask file [V].

    Raises:
        DataError: a truncated file, rows that do not match the videos, NaN or infinity in a present row.
    """
    values = read_npy(file)
    if values.ndim != 2 or len(values) != num_videos:
        raise DataError(
            f"shape {values.shape} for {num_videos} videos",
            file=file,
            fix="save one row for each video, in the order of the videos",
        )
    mask = None
    if present is not None:
        mask = read_npy(present)
        if mask.shape != (num_videos,):
            raise DataError(
                f"shape {mask.shape} for {num_videos} videos", file=present, fix="save one bool for each video"
            )
    try:
        return Features.of(values, mask)
    except DataError as error:
        raise DataError(error.problem, file=file, row=error.row, column=error.column, fix=error.fix) from error
