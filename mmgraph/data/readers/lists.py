"""Text files with one line a user: LightGCN's splits and ordered histories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgraph.data.checks import Duplicates, check_word
from mmgraph.data.dataset import Dataset, Entities
from mmgraph.data.errors import DataError, Findings, Origin, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.tables import existing, read_json, read_lists, read_tokens, refuse_second_lines
from mmgraph.data.vocabulary import Vocabulary, text_ids


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
    dataset = Dataset.from_frames(
        frame,
        pl.DataFrame({"user_id": user_ids}),
        pl.DataFrame({"video_id": video_ids}),
        duplicates=duplicates,
        name=name or folder.resolve().name,
        source=Source(f"{folder} (train, valid, test one after another)"),
    )
    files = tuple(Path(file) for file in (train, valid, test, user_map, video_map) if file is not None)
    return replace(dataset, origin=Origin("LightGCN", files))


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
    lines: Literal["list", "pair"] | None = None,
    titles: str | Path | None = None,
    attributes: str | Path | None = None,
    duplicates: Duplicates = "keep",
    name: str | None = None,
) -> Dataset:
    """Read ordered lists: ``user item item …`` a line in the order of watching, or ``user item`` a line, the lines of a
    user in that order; separated by blanks or tabs.

    This is the layout of the SASRec (pairs) and P5 (lists) files and of MicroLens' ``pairs.tsv``. There is no time: the
    place in the list becomes the column ``position``, which the ordered protocols follow.

    Args:
        lines: what a line holds. By default a pair, when all lines are of two ids and some user has several; else a
            list.
        titles: CSV of ``item,title``; titles of items nobody watched are left out.
        attributes: JSON of item -> list of attribute ids, becoming the entities ``attribute``.
        duplicates: an item twice in a list is watched twice, hence ``keep``; see :meth:`Dataset.from_frames`.

    Raises:
        DataError: a user with two lists, lines that are rather rows of a table without a header, an unreadable titles
            or attributes file.
    """
    path = existing(path)
    if lines is not None:
        check_word(lines, ("list", "pair"), "lines")
    source = Source(path, first_line=1)
    user, item, position, said = _ordered(path, source, lines)
    frame = pl.DataFrame({"user": user, "video": item, "position": position})
    vocabulary = Vocabulary(pl.Series(np.unique(item)))
    videos, files = pl.DataFrame({"video_id": vocabulary.ids}), [path]
    if titles is not None:
        table, where = read_table(titles, required=("item", "title"), ids=("item",))
        rows = vocabulary.find(Vocabulary(table["item"], where).ids)  # which refuses an item with two titles
        known = pl.DataFrame({"row": rows, "title": table["title"]}).filter(pl.col("row") >= 0)
        videos = videos.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
        videos = videos.join(known, on="row", how="left", maintain_order="left").drop("row")
        files.append(Path(titles))
    entities = {}
    if attributes is not None:
        entities["attribute"] = _attributes(Path(attributes), vocabulary)
        files.append(Path(attributes))
    dataset = Dataset.from_frames(
        frame,
        pl.DataFrame({"user_id": np.unique(user)}),
        videos,
        duplicates=duplicates,
        entities=entities,
        name=name or path.stem,
        source=Source(path),
    )
    return replace(dataset, origin=Origin("ordered lists", tuple(files), said))


def _ordered(
    path: Path, source: Source, lines: str | None
) -> tuple[NDArray, NDArray, NDArray[np.int64], tuple[str, ...]]:
    """User, item and place of each event, and what was decided."""
    numbers, lengths, flat = read_tokens(path)
    heads = np.cumsum(lengths) - lengths
    users = flat[heads]
    pairs = bool((lengths == 2).all())
    told: tuple[str, ...] = ()
    if lines is None:
        _refuse_table(path, lengths, flat)
        lines = "pair" if pairs and len(np.unique(users)) < len(users) else "list"
        if lines == "pair":
            told = (f"{path.name}: a line is one pair, and the order of lines that of watching",)
    if lines == "pair":
        if not pairs:
            rows = numbers[lengths != 2] - 1
            raise source.error(f"{lengths[lengths != 2][0]} ids in a line of a pair", rows=rows, fix="write: user item")
        items = flat[heads + 1]
        order = np.argsort(users, kind="stable")
        starts = np.flatnonzero(np.r_[True, users[order][1:] != users[order][:-1]])
        counts = np.diff(np.r_[starts, len(users)])
        position = np.empty(len(users), dtype=np.int64)
        position[order] = np.arange(len(users)) - np.repeat(starts, counts)
        return users, items, position, told
    refuse_second_lines(users, numbers, source)
    counts = lengths - 1
    starts = np.cumsum(counts) - counts
    return np.repeat(users, counts), np.delete(flat, heads), np.arange(counts.sum()) - np.repeat(starts, counts), told


def _refuse_table(path: Path, lengths: NDArray[np.int64], flat: NDArray) -> None:
    """Raises a DataError for lines that are rows of a table: as many fields in each, and one of them a moment."""
    width = int(lengths[0])
    if width < 3 or len(lengths) < 2 or (lengths != width).any() or flat.dtype.kind != "i":
        return
    columns = flat.reshape(-1, width)
    moments = np.all((columns > 6e8) & (columns < 4e12), axis=0)
    if moments[1:].any() and not moments[1:].all():
        place = int(np.argmax(moments))
        names = ["user_id", "video_id", *(f"column_{n + 1}" for n in range(2, width))]
        names[place] = "timestamp"
        raise DataError(
            f"every line has {width} fields, and field {place + 1} looks like a time: a table without a header",
            file=path,
            line=1,
            fix=f"read it with read_csv(path, columns={tuple(names)}), or say lines='list'",
        )


def _attributes(path: Path, videos: Vocabulary) -> Entities:
    """Entities from JSON of item -> list of attribute ids; items that nobody watched are left out."""
    told = read_json(path)
    if not isinstance(told, dict) or not all(isinstance(values, list) for values in told.values()):
        raise DataError("not JSON of item -> list of attributes", file=path, fix='write {"item": [attribute, …], …}')
    items = text_ids(pl.Series("item", [item for item, values in told.items() for _ in values], dtype=pl.String))
    listed = text_ids(pl.Series("attribute", [str(a) for values in told.values() for a in values], dtype=pl.String))
    known = pl.Series(videos.find(items) >= 0) if len(items) else pl.Series([], dtype=pl.Boolean)
    return Entities.from_pairs(videos, items.filter(known), listed.filter(known))
