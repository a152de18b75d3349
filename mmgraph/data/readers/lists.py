"""Text files with one line a user: LightGCN's splits and ordered histories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset, Entities
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.tables import existing, read_json, read_lists
from mmgraph.data.vocabulary import Vocabulary


def read_lightgcn(
    train: str | Path,
    test: str | Path | None = None,
    valid: str | Path | None = None,
    *,
    user_map: str | Path | None = None,
    video_map: str | Path | None = None,
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read LightGCN's text: ``user item item …`` a line, one file a part.

    LightGCN (He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126). Ids are rows: 0…U-1, 0…V-1. The part is kept
    in the column ``split`` (0 train, 1 valid, 2 test) for ``published_split(dataset, "split")``.

    Args:
        train: the training file, or the folder that holds train.txt, test.txt and perhaps valid.txt.
        test, valid: the other files.
        user_map, video_map: files of ``original_id row`` lines; the original ids become the raw ids.
        duplicates: see :meth:`Dataset.from_frames`. A pair in two parts is a duplicate.

    Raises:
        DataError: see :meth:`Dataset.from_frames`; also a line that does not parse.
    """
    train = existing(train)
    if train.is_dir():
        folder, train = train, train / "train.txt"
        test = test or folder / "test.txt"
        valid = valid or (folder / "valid.txt" if (folder / "valid.txt").exists() else None)
    else:
        folder = train.parent
    if test is None:
        raise DataError("the test file is missing", file=train, fix="pass test=, or the folder that holds both")
    found = Findings()
    users, videos, part = [], [], []
    for label, file in ((0, train), (1, valid), (2, test)):
        if file is None:
            continue
        read = found.attempt(read_lists, file)
        if read is None:
            continue
        user, _, lengths, items = read
        users.append(np.repeat(user, lengths))
        videos.append(items)
        part.append(np.full(len(items), label, dtype=np.int8))
    if found:
        raise found.error()
    user_row, video_row = np.concatenate(users), np.concatenate(videos)
    if not len(video_row):
        raise DataError("no user has an item", file=train, fix="write lines: user item item …")
    user_ids = _mapped(user_map, int(user_row.max()) + 1)
    video_ids = _mapped(video_map, int(video_row.max()) + 1)
    _inside(user_row, user_ids, user_map, "user")
    _inside(video_row, video_ids, video_map, "item")
    frame = pl.DataFrame(
        {"user": user_ids[user_row], "video": video_ids[video_row], "split": np.concatenate(part)},
        schema_overrides={"split": pl.Int8},
    )
    return Dataset.from_frames(
        frame,
        pl.DataFrame({"user_id": user_ids}),
        pl.DataFrame({"video_id": video_ids}),
        duplicates=duplicates,
        name=name or folder.resolve().name,
        source=Source(f"{folder} (train, valid, test one after another)"),
    )


def _mapped(path: str | Path | None, count: int) -> NDArray[np.int64]:
    """Raw id of each row."""
    if path is None:
        return np.arange(count)
    raw, _, lengths, rows = read_lists(path)
    if (lengths != 1).any() or not np.array_equal(np.sort(rows), np.arange(len(rows))):
        raise DataError(
            "not lines of 'original_id row' with rows 0, 1, 2, … each once", file=path, fix="repair the map"
        )
    ids = np.empty(len(rows), dtype=np.int64)
    ids[rows] = raw
    return ids


def _inside(rows: NDArray[np.int64], ids: NDArray[np.int64], path: str | Path | None, what: str) -> None:
    if rows.max() >= len(ids):
        raise DataError(f"{what} {rows.max()} is not in the map of {len(ids)} rows", file=path, fix="complete the map")


def read_sequences(
    path: str | Path,
    *,
    titles: str | Path | None = None,
    attributes: str | Path | None = None,
    duplicates: Duplicates = "keep",
    name: str | None = None,
) -> Dataset:
    """Read ordered lists: ``user item item …`` a line in the order of watching, separated by blanks or tabs.

    This is the layout of the SASRec and P5 files and of MicroLens' ``pairs.tsv``. There is no time: the place in the
    list becomes the column ``position``, which the ordered protocols follow.

    Args:
        titles: CSV of ``item,title``; titles of items nobody watched are left out.
        attributes: JSON of item -> list of attribute ids, becoming the entities ``attribute``.
        duplicates: an item twice in a list is watched twice, hence ``keep``; see :meth:`Dataset.from_frames`.

    Raises:
        DataError: a line that does not parse, an unreadable titles or attributes file.
    """
    path = existing(path)
    user, _, lengths, items = read_lists(path)
    starts = np.cumsum(lengths) - lengths
    frame = pl.DataFrame(
        {
            "user": np.repeat(user, lengths),
            "video": items,
            "position": np.arange(len(items)) - np.repeat(starts, lengths),
        }
    )
    vocabulary = Vocabulary(pl.Series(np.unique(items)))
    videos = pl.DataFrame({"video_id": vocabulary.ids})
    if titles is not None:
        table, source = read_table(titles, required=("item", "title"))
        Vocabulary(table["item"], source)  # refuses an item with two titles
        videos = videos.join(
            table.select(pl.col("item").cast(pl.Int64), "title"),
            left_on="video_id",
            right_on="item",
            how="left",
            maintain_order="left",
        )
    entities = {}
    if attributes is not None:
        pairs = [(int(v), int(a)) for v, values in read_json(attributes).items() for a in values]
        listed = pl.DataFrame(pairs, schema=["video", "attribute"], orient="row")
        listed = listed.filter(pl.Series(vocabulary.find(listed["video"]) >= 0))
        entities["attribute"] = Entities.from_pairs(vocabulary, listed["video"], listed["attribute"])
    return Dataset.from_frames(
        frame,
        pl.DataFrame({"user_id": np.sort(user)}),
        videos,
        duplicates=duplicates,
        entities=entities,
        name=name or path.stem,
        source=Source(path),
    )
