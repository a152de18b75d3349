"""The atomic files of RecBole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset, Entities
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.tables import existing
from mmgraph.data.vocabulary import Vocabulary

_TYPES = ("token", "token_seq", "float", "float_seq")
_PARTS = ("train", "valid", "test")


def is_recbole(file: Path) -> bool:
    """Whether an ``.inter`` file has RecBole's header, whose names carry a type, as ``user_id:token``."""
    with file.open("rb") as lines:
        return b":token" in lines.readline()


def read_recbole(path: str | Path, *, duplicates: Duplicates = "error", name: str | None = None) -> Dataset:
    """Read RecBole's ``.inter``, ``.item`` and ``.user`` files.

    Zhao et al., "RecBole: Towards a Unified, Comprehensive and Efficient Framework for Recommendation Algorithms", CIKM
    2021, https://arxiv.org/abs/2011.01731. A header names a field and its type (``token``, ``token_seq``, ``float``,
    ``float_seq``). The first token of .inter is the user, the second the item; ``timestamp`` is the time; other floats
    are signals. Sequences of tokens of an item become entities of the field's name. A benchmark's ``….train.inter``,
    ``….valid.inter`` and ``….test.inter`` are read one after another, with the column ``split`` (0, 1, 2) for
    ``published_split(dataset, "split")``.

    Args:
        path: the folder, or one ``.inter``.
        duplicates: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: a header without types, no or several ``.inter`` files; and see :meth:`Dataset.from_frames`.
    """
    path = existing(path)
    folder = path if path.is_dir() else path.parent
    inters = sorted(folder.glob("*.inter")) if path.is_dir() else [path]
    # one file by its name is read by itself, whatever part it is
    named = [] if path.is_file() else inters
    parts = {part: file for part in _PARTS for file in named if file.name.endswith(f".{part}.inter")}
    whole = [file for file in inters if file not in parts.values()]
    if len(whole) > 1 or (not whole and {"train", "test"} - parts.keys()):
        raise DataError(f"not one .inter file: {[f.name for f in inters]}", file=folder, fix="name one of them")
    files = whole or [parts[part] for part in _PARTS if part in parts]
    stem = files[0].name.split(".")[0]
    found = Findings()
    logs = [found.attempt(_atomic, file) for file in files]
    tables: dict[str, tuple[pl.DataFrame, Source, list[str]]] = {}
    for what in ("user", "item"):
        file = folder / f"{stem}.{what}"
        read = found.attempt(_atomic, file) if file.exists() else None
        if read is not None:
            tables[what] = read
    if found:
        raise found.error()
    read_logs = [log for log in logs if log is not None]
    labels = [0] if whole else [_PARTS.index(part) for part in _PARTS if part in parts]
    frames = [
        f if whole else f.with_columns(split=pl.lit(label, pl.Int8)) for (f, _, _), label in zip(read_logs, labels)
    ]
    frame = pl.concat(frames, how="vertical_relaxed")
    source = read_logs[0][1] if len(files) == 1 else Source(f"{folder} (train, valid, test one after another)")
    ids = _id_columns(read_logs[0][0], source)
    people, items = (tables[what][0] if what in tables else None for what in ("user", "item"))
    dataset = Dataset.from_frames(
        frame,
        None if people is None else _renamed(people, ids[0], "user_id", frame[ids[0]]),
        None if items is None else _renamed(items, ids[1], "video_id", frame[ids[1]]),
        user=ids[0],
        video=ids[1],
        time="timestamp" if "timestamp" in frame.columns else None,
        duplicates=duplicates,
        name=name or stem,
        source=source,
        users_source=tables["user"][1] if "user" in tables else None,
        videos_source=tables["item"][1] if "item" in tables else None,
    )
    entities = {}
    for field in tables["item"][2] if "item" in tables else ():
        pairs = dataset.videos.select("video_id", field).explode(field).drop_nulls()
        entities[field] = Entities.from_pairs(dataset.video_ids, pairs["video_id"], pairs[field])
    read_files = (*files, *(folder / f"{stem}.{what}" for what in tables))
    origin = replace(dataset.origin, layout="RecBole", files=read_files)
    return replace(dataset, entities=entities, origin=origin)


def _atomic(file: Path) -> tuple[pl.DataFrame, Source, list[str]]:
    """A table with the types its header gives, its source, and the names of its sequences of tokens."""
    frame, source = read_table(file, separator="\t", quote=None, header=True)
    columns, sequences = [], []
    for column in frame:
        field, colon, kind = column.name.rpartition(":")
        if not colon or kind not in _TYPES:
            raise DataError(
                f"the header gives {column.name!r} no type",
                file=file,
                line=1,
                fix=f"write it as name:type, with one of {', '.join(_TYPES)}",
            )
        text = column.cast(pl.String).alias(field)
        if kind == "token":
            columns.append(column.alias(field) if column.dtype in (pl.Int64, pl.String) else text)
        elif kind == "float":
            columns.append(_floats(column.alias(field), source))
        else:
            listed = text.str.strip_chars().str.split(" ")
            if kind == "float_seq":
                listed = listed.cast(pl.List(pl.Float64), strict=False)
            else:
                sequences.append(field)
            columns.append(listed)
    return pl.DataFrame(columns), source, sequences


def _floats(column: pl.Series, source: Source) -> pl.Series:
    values = column.cast(pl.Float64, strict=False)
    bad = (values.is_null() & column.is_not_null()).arg_true().to_numpy()
    if len(bad):
        problem = f"{column[int(bad[0])]!r} is no number, but the header says float"
        raise source.error(problem, rows=bad, column=column.name, fix="correct it, or make the field a token")
    return values


def _id_columns(frame: pl.DataFrame, source: Source) -> tuple[str, str]:
    """The fields of user and item: by their usual names, else the first two."""
    names = frame.columns
    if len(names) < 2:
        raise source.error(f"only the fields {names}", fix="write at least the user's and the item's")
    user = next((n for n in ("user_id", "session_id") if n in names), names[0])
    item = next((n for n in ("item_id", "video_id", "movie_id", "business_id") if n in names), None)
    return user, item or next(n for n in names if n != user)


def _renamed(table: pl.DataFrame, column: str, name: str, ids: pl.Series) -> pl.DataFrame:
    """The rows of a table whose ids occur, in its order; ids that it lacks come after them."""
    key = column if column in table.columns else table.columns[0]
    table = table.rename({key: name})
    occurring = Vocabulary(ids.unique().sort())
    there = table.filter(pl.Series(occurring.find(table[name]) >= 0))
    rest = occurring.ids.filter(pl.Series(Vocabulary(there[name]).find(occurring.ids) < 0))
    if not len(rest):
        return there
    if rest.dtype != there[name].dtype:
        rest, there = rest.cast(pl.String), there.with_columns(pl.col(name).cast(pl.String))
    return pl.concat([there, rest.alias(name).to_frame()], how="diagonal")
