"""MicroLens: short videos with titles, covers, sound and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from mmgraph.data.aligning import media_rows
from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError, Findings
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.lists import read_sequences
from mmgraph.data.readers.media_folder import CLIPS, IMAGES, SOUNDS
from mmgraph.data.readers.tables import existing, files_by_id
from mmgraph.data.vocabulary import Vocabulary

_MEDIA = {"image": ("*cover*", IMAGES), "audio": ("*audio*", SOUNDS), "video": ("*video*", CLIPS)}
_VIEWS = ("item", "likes", "views")


def microlens_pairs(folder: Path) -> list[Path]:
    """The files of interactions in a folder: with times (``…pairs.csv``) where they lie, else ``…pairs.tsv``."""
    return sorted(folder.glob("*pairs.csv")) or sorted(folder.glob("*pairs.tsv"))


def read_microlens(
    path: str | Path, *, media: bool = True, duplicates: Duplicates = "keep", name: str | None = None
) -> Dataset:
    """Read MicroLens (50k, 100k, 1M) as it unpacks.

    Ni et al., "A Content-Driven Micro-Video Recommendation Dataset at Scale", 2023, https://arxiv.org/abs/2309.15379.
    Reads ``…pairs.csv`` (user, item, timestamp in ms) or ``…pairs.tsv`` (a user's videos in order, without times),
    ``…title….csv`` (column ``title``), ``…likes_and_views.txt`` (``likes``, ``views``, of the day the set was made),
    and as media the folders of covers, audios and videos (``<item>.jpg``, …).

    Args:
        path: the folder.
        media: whether to look for covers, sound and videos.
        duplicates: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: not one file of pairs; and see :meth:`Dataset.from_frames`.
    """
    folder = existing(path, "folder")
    pairs = microlens_pairs(folder) if folder.is_dir() else []
    if len(pairs) != 1:
        names = [f.name for f in pairs]
        raise DataError(
            f"not one file of pairs: {names}", file=folder, fix="give the folder with one …pairs.csv or .tsv"
        )
    found, files = Findings(), [pairs[0]]
    tables: list[pl.DataFrame] = []
    for pattern, columns in (("*title*.csv", ("item", "title")), ("*likes_and_views*.txt", _VIEWS)):
        for file in sorted(folder.glob(pattern))[:1]:
            table = found.attempt(_about, file, columns)
            if table is not None:
                tables.append(table)
                files.append(file)
    if found:
        raise found.error()
    label = name or pairs[0].name.split("_")[0].lower()
    if pairs[0].suffix == ".tsv":
        dataset = read_sequences(pairs[0], duplicates=duplicates, name=label)
        dataset = replace(dataset, videos=_joined(dataset.videos, tables))
    else:
        log, source = read_table(pairs[0], required=("user", "item", "timestamp"), ids=("user", "item"))
        videos = _joined(log["item"].unique().sort().alias("video_id").to_frame(), tables)
        dataset = Dataset.from_frames(
            log,
            None,
            videos,
            user="user",
            video="item",
            time_unit="ms",
            duplicates=duplicates,
            name=label,
            source=source,
        )
    shown = _media(folder, dataset.video_ids) if media else {}
    origin = replace(dataset.origin, layout="MicroLens", files=tuple(files))
    return replace(dataset, media=shown, origin=origin)


def _about(file: Path, columns: Sequence[str]) -> pl.DataFrame:
    """What a table tells of items, whether or not it has a header."""
    try:
        table, source = read_table(file, ids=("item",), text=("title",))
        known = set(columns) <= set(table.columns)
    except DataError as error:
        if not error.fix.startswith("name the"):
            raise
        known = False
    if not known:
        table, source = read_table(file, header=False, columns=columns, ids=("item",), text=("title",))
    Vocabulary(table["item"], source)  # refuses an item with two lines
    return table.select(columns)


def _joined(videos: pl.DataFrame, tables: list[pl.DataFrame]) -> pl.DataFrame:
    for table in tables:
        ids = table["item"].cast(videos["video_id"].dtype, strict=False)
        more = table.with_columns(ids.alias("video_id")).drop("item")
        videos = videos.join(more, on="video_id", how="left", maintain_order="left")
    return videos


def _media(folder: Path, videos: Vocabulary) -> dict[str, list[list[Path]]]:
    """The files of known items: the folders serve larger sets too."""
    media = {}
    for kind, (pattern, suffixes) in _MEDIA.items():
        for place in sorted(p for p in folder.glob(pattern) if p.is_dir()):
            listed = files_by_id(place, suffixes)
            known = dict(zip(listed, videos.find(list(listed)))) if listed else {}
            inside = {raw: files for raw, files in listed.items() if known[raw] >= 0}
            if inside:
                media[kind] = media_rows(videos, inside)
    return media
