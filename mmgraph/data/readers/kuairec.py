"""KuaiRec: who watched how much of what Kuaishou showed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from mmgraph.data.checks import Duplicates, check_word, numbers
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import Findings
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.feeds import data_folder, feed_dataset, join_by_id, optional_table, table_of
from mmgraph.data.readers.media_folder import column_entities
from mmgraph.data.readers.tables import existing

_IDS = ("user_id", "video_id")


def read_kuairec(
    path: str | Path,
    *,
    matrix: Literal["big", "small"] = "big",
    min_watch_ratio: float = 1.0,
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read KuaiRec: who watched how much of what, in a large matrix and in a small one that is almost fully observed.

    Gao et al., "KuaiRec: A Fully-observed Dataset and Insights for Evaluating Recommender Systems", CIKM 2022,
    https://arxiv.org/abs/2202.10842. Every row was shown: exposures hold all, with ``play_duration``,
    ``video_duration`` (ms), ``watch_ratio`` and ``click`` where the ratio reaches ``min_watch_ratio``; those are the
    interactions. Users' columns come from user_features.csv, tags (entities ``tag``) from item_categories.csv, the text
    (``title``, the caption) and entities ``category`` from kuairec_caption_category.csv, each where it lies.

    Args:
        path: the unpacked folder, or the ``data`` in it.
        matrix: ``big_matrix.csv`` or ``small_matrix.csv``. Rows of the small one that have no time are kept; then there
            is no column ``time``.
        min_watch_ratio: how much of a video counts as taken: 1 is all of it; the paper's example is 2.
        duplicates: a video watched again repeats a pair: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: a missing file or column; and see :meth:`Dataset.from_frames`.
    """
    check_word(matrix, ("big", "small"), "matrix")
    folder = data_folder(existing(path, "folder"))
    file = folder / f"{matrix}_matrix.csv"
    found = Findings()
    log = found.attempt(read_table, file, required=(*_IDS, "timestamp", "watch_ratio"), ids=_IDS)
    files = [file]
    people = optional_table(folder / "user_features.csv", ("user_id",), found, files)
    tags = optional_table(folder / "item_categories.csv", ("video_id", "feat"), found, files)
    captions = optional_table(folder / "kuairec_caption_category.csv", ("video_id", "caption"), found, files)
    if found or log is None:
        raise found.error()
    frame, source = log
    frame = frame.drop([c for c in ("time", "date") if c in frame.columns])  # of Beijing, what timestamp says in UTC
    notes: tuple[str, ...] = ()
    if frame["timestamp"].null_count():
        notes = (f"{file.name}: {frame['timestamp'].null_count():,} rows have no time: there is no column time",)
        frame = frame.drop("timestamp")
    videos = table_of(frame["video_id"], tags)
    if captions is not None:
        text = captions.rename({"caption": "title"})
        text = text.unique("video_id", keep="first", maintain_order=True)
        level = "first_level_category_name"
        text = text.select("video_id", "title", *([pl.col(level).alias("category")] if level in text.columns else []))
        videos = join_by_id(videos, text)
    ratio = numbers(frame["watch_ratio"], source, pl.Float64)
    made = feed_dataset(
        frame,
        source,
        ratio >= min_watch_ratio,
        f"watch_ratio of {min_watch_ratio}",
        table_of(frame["user_id"], people),
        videos,
        time="timestamp" if "timestamp" in frame.columns else None,
        duplicates=duplicates,
        name=name or f"kuairec-{matrix}",
    )
    entities = {}
    if "feat" in made.videos.columns:
        entities["tag"] = column_entities(made, "feat")
    if "category" in made.videos.columns:
        entities["category"] = column_entities(made, "category", "\n")
    origin = replace(made.origin, layout="KuaiRec", files=tuple(files), notes=(*made.origin.notes, *notes))
    return replace(made, entities=entities, origin=origin)
