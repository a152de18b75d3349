"""The Yelp Open Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError
from mmgraph.data.readers.json_lines import read_json_lines
from mmgraph.data.readers.media_folder import column_entities
from mmgraph.data.readers.tables import existing
from mmgraph.data.vocabulary import Vocabulary

_FILE = "yelp_academic_dataset_{}.json"
_REVIEW = {
    "user_id": pl.String,
    "video_id": pl.String,
    "timestamp": pl.String,
    "rating": pl.Float64,
    "useful": pl.Int64,
    "funny": pl.Int64,
    "cool": pl.Int64,
}
_BUSINESS = {
    "video_id": pl.String,
    "title": pl.String,
    "city": pl.String,
    "state": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "stars": pl.Float64,
    "review_count": pl.Int64,
    "is_open": pl.Int64,
    "categories": pl.List(pl.String),
}
_USER = {
    "user_id": pl.String,
    "yelping_since": pl.String,
    "review_count": pl.Int64,
    "average_stars": pl.Float64,
    "fans": pl.Int64,
    "friends": pl.Int64,
    "elite_years": pl.Int64,
}


def read_yelp(
    path: str | Path,
    *,
    users: bool = True,
    min_rating: float | None = None,
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read the Yelp Open Dataset (https://business.yelp.com/data/resources/open-dataset): a video is a business.

    Reads ``yelp_academic_dataset_review.json`` (signals ``rating``, ``useful``, ``funny``, ``cool``, ``time``),
    ``…_business.json`` (title, city, categories; entities ``category`` and ``city``) and ``…_user.json`` where they
    lie. ``stars``, ``review_count``, ``average_stars`` and ``fans`` are of the day the set was made: they know the
    future.

    Args:
        path: the folder.
        users: whether to read the users' file, the second largest.
        min_rating: keep only reviews of at least this many stars; businesses stay.
        duplicates: a business reviewed again is common: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: a line that is no JSON object or lacks a key; and see :meth:`Dataset.from_frames`.
    """
    folder = existing(path, "folder")
    if not folder.is_dir():
        raise DataError("this is a file", file=folder, fix="give the folder of the .json files")
    files = {what: folder / _FILE.format(what) for what in ("review", "business", "user")}
    log, source = read_json_lines(files["review"], _REVIEW, _review)
    known = Vocabulary(log["video_id"].unique().sort())
    videos = pl.DataFrame({"video_id": known.ids})
    read = [files["review"]]
    if files["business"].exists():
        wanted = set(known.ids)
        table, where = read_json_lines(files["business"], _BUSINESS, lambda r: _business(r, wanted))
        Vocabulary(table["video_id"], where)  # refuses a business with two lines
        videos = videos.join(table, on="video_id", how="left", maintain_order="left")
        read.append(files["business"])
    people = None
    if users and files["user"].exists():
        raters = log["user_id"].unique().sort()
        wanted_users = set(raters)
        table, where = read_json_lines(files["user"], _USER, lambda r: _user(r, wanted_users))
        Vocabulary(table["user_id"], where)
        people = raters.to_frame().join(table, on="user_id", how="left", maintain_order="left")
        read.append(files["user"])
    if min_rating is not None:
        rows = (log["rating"] >= min_rating).fill_null(False).arg_true()
        if not len(rows):
            raise source.error(f"no review has {min_rating} stars", column="rating", fix="use a lower min_rating")
        log, source = log[rows], source.of_rows(rows.to_numpy())
    dataset = Dataset.from_frames(
        log,
        people,
        videos,
        duplicates=duplicates,
        name=name or folder.resolve().name,
        source=source,
    )
    entities = {}
    if "categories" in videos.columns:
        entities = {"category": column_entities(dataset, "categories"), "city": column_entities(dataset, "city", "\n")}
    return replace(dataset, entities=entities, origin=replace(dataset.origin, layout="Yelp", files=tuple(read)))


def _review(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "user_id": record["user_id"],
        "video_id": record["business_id"],
        "timestamp": record["date"],
        "rating": record["stars"],
        **{key: record.get(key) for key in ("useful", "funny", "cool")},
    }


def _business(record: Mapping[str, Any], wanted: set[str]) -> dict[str, Any] | None:
    if record["business_id"] not in wanted:
        return None
    words = record.get("categories")
    listed = [w.strip() for w in words.split(",")] if isinstance(words, str) else list(words or [])
    row = {key: record.get(key) for key in _BUSINESS}
    return {**row, "video_id": record["business_id"], "title": record.get("name"), "categories": listed}


def _user(record: Mapping[str, Any], wanted: set[str]) -> dict[str, Any] | None:
    if record["user_id"] not in wanted:
        return None
    row = {key: record.get(key) for key in _USER}
    return {**row, "friends": _count(record.get("friends")), "elite_years": _count(record.get("elite"))}


def _count(value: Any) -> int:
    """How many names a list, or text with commas, holds; ``None`` as a word is none."""
    if isinstance(value, str):
        return 0 if value in ("", "None") else value.count(",") + 1
    return len(value or [])
