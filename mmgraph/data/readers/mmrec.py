"""The layout of the MMRec toolbox."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from mmgraph.data.checks import Duplicates, check_columns
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError, Findings, Origin, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.feature_folder import read_features
from mmgraph.data.readers.tables import existing
from mmgraph.data.vocabulary import plain_integers

_FEATURES = {
    "image_feat.npy": "visual",
    "audio_feat.npy": "audio",
    "acoustic_feat.npy": "audio",
    "text_feat.npy": "text",
}


def read_mmrec(
    path: str | Path,
    inter: str | None = None,
    features: Mapping[str, str] | None = None,
    *,
    num_videos: int | None = None,
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read an MMRec folder: ``<name>.inter`` (tab-separated ``userID, itemID, x_label`` with 0/1/2 = train/valid/test,
    perhaps ``timestamp`` and ``rating``) and ``.npy`` features whose row r belongs to item id r.

    MMRec (Zhou, "MMRec: Simplifying Multimodal Recommendation", MM Asia Workshops 2023,
    https://arxiv.org/abs/2302.03497). Ids are rows, so the vocabularies are 0…U-1 and 0…V-1. ``x_label`` stays a
    column: :func:`published_split` reads it.

    Args:
        path: the folder.
        inter: the interactions file, when there is not exactly one ``.inter``.
        features: modality -> file name. By default image_feat.npy is ``visual``, audio_feat.npy ``audio``,
            text_feat.npy ``text``; another ``.npy`` matrix with a row for each item is the modality of its name (said
            in ``dataset.origin.notes``).
        num_videos: V, when the catalogue has videos after the last id that occurs.
        duplicates: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: see :meth:`Dataset.from_frames`; also feature rows that do not match the item ids.
    """
    folder = existing(path, "folder")
    if inter is None:
        found = sorted(folder.glob("*.inter"))
        if len(found) != 1:
            raise DataError(f"{len(found)} .inter files", file=folder, fix="name one: inter='….inter'")
        inter = found[0].name
    frame, source = read_table(folder / inter, required=("userID", "itemID"), ids=("userID", "itemID"), separator="\t")
    num_users = _count(frame, "userID", source)
    seen_videos = _count(frame, "itemID", source)
    if num_videos is not None and num_videos < seen_videos:
        row = int(frame["itemID"].arg_max() or 0)
        raise source.error(
            f"item {seen_videos - 1} is outside num_videos={num_videos}", row=row, column="itemID", fix="correct one"
        )
    videos = num_videos or seen_videos
    found = Findings()
    dataset = found.attempt(
        Dataset.from_frames,
        frame,
        pl.DataFrame({"user_id": np.arange(num_users)}),
        pl.DataFrame({"video_id": np.arange(videos)}),
        user="userID",
        video="itemID",
        duplicates=duplicates,
        name=name or Path(inter).stem,
        source=source,
    )
    notes, taken = [], {}
    if features is None:
        features, taken = _matrices(folder, videos)
        notes = [f"{file}: {videos} rows, hence the modality {modality!r}" for modality, file in taken.items()]
    named = {**taken, **features}
    made = {modality: found.attempt(read_features, folder / file, videos) for modality, file in named.items()}
    if found or dataset is None:
        raise found.error()
    files = (folder / inter, *(folder / file for file in named.values()))
    origin = Origin("MMRec", files, (*dataset.origin.notes, *notes))
    return replace(dataset.with_features(**made), origin=origin)


def _matrices(folder: Path, videos: int) -> tuple[dict[str, str], dict[str, str]]:
    """Modality -> file: those with MMRec's names, and other matrices with as many rows as there are videos."""
    usual = {modality: file for file, modality in _FEATURES.items() if (folder / file).exists()}
    others = {}
    for file in sorted(folder.glob("*.npy")):
        if file.name in _FEATURES:
            continue
        try:
            values = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError):
            continue  # inspect names it among the files that were not read
        modality = re.sub(r"_?(feat(ure)?s?|emb(edding)?s?)$", "", file.stem) or file.stem
        if values.ndim == 2 and len(values) == videos and values.dtype.kind in "fiu" and modality not in usual:
            others[modality] = file.name
    return usual, others


def _count(frame: pl.DataFrame, column: str, source: Source) -> int:
    """The largest id + 1, of a column of ids that are rows."""
    check_columns(frame, [column], source)
    ids = frame[column]
    if not ids.dtype.is_integer():
        numbers = plain_integers(ids.cast(pl.String))
        wrong = numbers.is_null() & ids.is_not_null()
        row = int(wrong.arg_true()[0]) if wrong.any() else 0
        raise source.error(f"{ids[row]!r} is not a row number", row=row, column=column, fix="MMRec ids are 0, 1, 2, …")
    if ids.null_count() or not len(ids):
        row = int(ids.is_null().arg_true()[0]) if len(ids) else None
        raise source.error("the id is missing", row=row, column=column, fix="fill it in or drop the row")
    low = int(ids.min())  # type: ignore[arg-type]
    if low < 0:
        raise source.error(f"id {low} is negative", row=ids.arg_min(), column=column, fix="MMRec ids are 0, 1, 2, …")
    return int(ids.max()) + 1  # type: ignore[arg-type]
