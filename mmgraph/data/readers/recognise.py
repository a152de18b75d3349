"""Which reader a folder or a file calls for, by the files that are there and by what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.aligning import ID_COLUMNS
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError
from mmgraph.data.readers.amazon import amazon_files, is_amazon, read_amazon
from mmgraph.data.readers.csv_parquet import read_csv, read_parquet
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.dialect import find_dialect
from mmgraph.data.readers.feeds import data_folder
from mmgraph.data.readers.kuairand import read_kuairand
from mmgraph.data.readers.kuairec import read_kuairec
from mmgraph.data.readers.kuaishou import read_kuaishou
from mmgraph.data.readers.lists import read_lightgcn, read_sequences
from mmgraph.data.readers.media_folder import read_media_folder
from mmgraph.data.readers.microlens import microlens_pairs, read_microlens
from mmgraph.data.readers.mind import mind_folders, read_mind
from mmgraph.data.readers.mmrec import read_mmrec
from mmgraph.data.readers.movielens import read_movielens
from mmgraph.data.readers.recbole import is_recbole, read_recbole
from mmgraph.data.readers.yelp import read_yelp
from mmgraph.data.times import looks_like_times

_MOVIELENS = ({"ratings.csv", "movies.csv"}, {"ratings.dat", "movies.dat"}, {"u.data", "u.item"})
_TEXT = (".csv", ".tsv", ".txt", ".data", ".dat")
_RATINGS = ("user_id", "video_id", "rating", "timestamp")


def read_any(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    header: bool | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    time_format: str | None = None,
) -> Dataset:
    """Read a folder or file with the reader its files call for; ``origin.layout`` says which. Repeated pairs are kept.

    A folder with interactions.csv is a media folder; ratings and movies (.csv, .dat) or u.data MovieLens; behaviors.tsv
    MIND; big_matrix.csv KuaiRec; ``log_standard_….csv`` KuaiRand; yelp_academic_dataset_review.json Yelp; a typed
    ``.inter`` RecBole, another MMRec; train.txt and test.txt LightGCN; ``…pairs.csv`` or ``.tsv`` MicroLens; one file
    of JSON lines Amazon; one other ``.txt`` ordered lists. A file is read by its ending and its content: Parquet,
    tables with a header (.csv, .tsv, .txt), ratings without one, ordered lists, .inter, JSON lines.

    What the content does not say, or says wrongly, is said here. It concerns tables of one's own: a media folder, and a
    file of text, which is then read as a table whatever it looks like; the other layouts are fixed.

    Args:
        columns, header, separator, encoding: see :func:`read_csv`.
        time_format: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: no known layout, anything the reader refuses, or these arguments for a layout that is fixed.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("the path does not exist", file=path, fix="check it")
    given = {"columns": columns, "header": header, "separator": separator, "encoding": encoding}
    given["time_format"] = time_format
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if path.is_dir():
        if asked and not (path / "interactions.csv").exists():
            raise _fixed(path, asked)
        return read_media_folder(path, duplicates="keep", **asked) if asked else _read_folder(path)
    if not asked:
        return _read_file(path)
    if not _bare(path).endswith(_TEXT):
        raise _fixed(path, asked)
    return read_csv(path, duplicates="keep", **asked)


def _fixed(path: Path, asked: dict[str, Any]) -> DataError:
    return DataError(
        f"{', '.join(f'{name}=' for name in asked)} given, but what is here has a fixed form",
        file=path,
        fix="leave it out; a media folder (with interactions.csv) and a file of text (.csv, .tsv, .txt) take it",
    )


def _bare(path: Path) -> str:
    """The file's name without the ending of a packer."""
    return path.name.lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")


def _read_folder(path: Path) -> Dataset:
    names = {p.name for p in path.iterdir()}
    if "interactions.csv" in names:
        return read_media_folder(path, duplicates="keep")
    if any(pair <= names for pair in _MOVIELENS):
        return read_movielens(path, duplicates="keep")
    if mind_folders(path):
        return read_mind(path, duplicates="keep")
    inside = {p.name for p in data_folder(path).iterdir()}
    if "big_matrix.csv" in inside or "small_matrix.csv" in inside:
        return read_kuairec(path, matrix="big" if "big_matrix.csv" in inside else "small", duplicates="keep")
    if any(n.startswith("log_standard_") for n in inside):
        return read_kuairand(path, duplicates="keep")
    if "yelp_academic_dataset_review.json" in names:
        return read_yelp(path, duplicates="keep")
    if "train_interaction.txt" in names:
        test = "test_interaction.txt" if "test_interaction.txt" in names else None
        return read_kuaishou(path, test=test).dataset
    inters = sorted(path.glob("*.inter"))
    if inters and is_recbole(inters[0]):
        return read_recbole(path, duplicates="keep")
    if len(inters) == 1:
        return read_mmrec(path, duplicates="keep")
    if {"train.txt", "test.txt"} <= names:
        return read_lightgcn(path, duplicates="keep")
    if "interactions.parquet" in names:
        tables = [path / f"{what}.parquet" for what in ("users", "videos")]
        users, videos = (t if t.exists() else None for t in tables)
        return read_parquet(path / "interactions.parquet", users, videos, duplicates="keep", name=path.name)
    if len(microlens_pairs(path)) == 1:
        return read_microlens(path)
    reviews = [file for file in amazon_files(path)[0] if is_amazon(file)]
    if len(reviews) == 1:
        return read_amazon(path, duplicates="keep")
    lists = [p for p in sorted(path.glob("*.txt")) if p.stem.lower() not in ("readme", "license")]
    if len(lists) == 1:
        return _read_file(lists[0])
    if lists:
        raise DataError(f"{len(lists)} list files: {[p.name for p in lists]}", file=path, fix="name one of them")
    raise DataError(
        f"no known layout; there are {sorted(names)[:10]}",
        file=path,
        fix="a media folder has interactions.csv, MovieLens ratings.csv and movies.csv, MMRec one .inter, LightGCN "
        "train.txt and test.txt, ordered lists one .txt, MicroLens *pairs.csv or .tsv, MIND behaviors.tsv, KuaiRec "
        "big_matrix.csv, KuaiRand log_standard_*.csv, Amazon and Yelp .json lines",
    )


def _read_file(path: Path) -> Dataset:
    name = _bare(path)
    if name.endswith(".parquet"):
        return read_parquet(path, duplicates="keep")
    if name.endswith(".inter") and is_recbole(path):
        return read_recbole(path, duplicates="keep")
    if name.endswith((".json", ".jsonl")):
        return read_amazon(path, duplicates="keep")
    if name.endswith(".inter"):
        return read_mmrec(path.parent, path.name, duplicates="keep")
    if not name.endswith(_TEXT):
        raise DataError(f"no known ending {path.suffix!r}", file=path, fix="use .parquet, .csv, .tsv, .txt or .inter")
    dialect = None
    try:
        dialect = find_dialect(path)
    except DataError as error:
        if not error.fix.startswith("name the"):
            raise
    if dialect is not None:
        known = {name for names in ID_COLUMNS.values() for name in names}
        if name.endswith(".csv") or known & set(dialect.names):
            return read_csv(path, duplicates="keep")
        return read_sequences(path)
    ratings = _ratings(path)
    if ratings is not None:
        return ratings
    if name.endswith((".csv", ".dat")):
        return read_csv(path, duplicates="keep")  # whose error says how to name the columns
    return read_sequences(path)


def _ratings(path: Path) -> Dataset | None:
    """``user item rating time`` without a header, when the content proves it: few different ratings, and times."""
    try:
        table, _ = read_table(path, header=False, columns=_RATINGS)
    except DataError:
        return None
    stars, moments = table["rating"], table["timestamp"]
    if not (stars.dtype.is_numeric() and moments.dtype.is_numeric()) or looks_like_times(moments) != "UTC seconds":
        return None
    if stars.null_count() or not bool(stars.cast(pl.Float64).is_between(0, 10).all()):
        return None
    made = read_csv(path, header=False, columns=_RATINGS, duplicates="keep")
    note = f"{path.name}: no header; read as user, video, rating and time, as the values look"
    return replace(made, origin=replace(made.origin, layout="ratings", notes=(note, *made.origin.notes)))
