"""MovieLens CSVs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset, Entities, media_rows
from mmgraph.data.errors import DataError, Findings
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.media_folder import IMAGES, column_entities
from mmgraph.data.readers.tables import existing, files_by_id
from mmgraph.data.vocabulary import Vocabulary


def read_movielens(
    path: str | Path,
    *,
    min_rating: float | None = None,
    unrated: bool = False,
    posters: str | Path | None = None,
    tags_before: float | None = None,
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read a MovieLens folder of CSVs (ml-latest-small, ml-25m, …).

    Harper and Konstan, "The MovieLens Datasets", TiiS 2015, https://doi.org/10.1145/2827872. Reads ratings.csv
    (signal ``rating``, ``time``), movies.csv (columns ``title`` without the year, ``year``, ``genres``; entities
    ``genre``), tags.csv when there (column ``tags``: the words users gave, ", " between them; entities ``tag`` in lower
    case), links.csv when there (``imdbId``, ``tmdbId``) and posters (``<movieId>.jpg``, as ``image`` media).

    Tags were given at a time too: with a time split, those given later than the training data tell of the future, and
    a film that nobody has seen yet has none. ``tags_before`` leaves them out.

    Args:
        min_rating: keep only ratings of at least this many stars (4.0 is common for "liked"). Films stay in the
            catalogue without one.
        unrated: whether films without any rating are in the catalogue.
        posters: the folder of posters; ``posters/`` inside the folder by default.
        tags_before: keep only tags given before this moment, in UTC seconds; all by default.

    Raises:
        DataError: see :meth:`Dataset.from_frames`.
    """
    folder = existing(path, "folder")
    found = Findings()
    rated = found.attempt(read_table, folder / "ratings.csv", required=("userId", "movieId", "rating", "timestamp"))
    movies = found.attempt(_films, folder / "movies.csv", required=("movieId", "title", "genres"))
    tags = links = None
    if (folder / "tags.csv").exists():
        timed = () if tags_before is None else ("timestamp",)
        given = found.attempt(
            read_table, folder / "tags.csv", required=("userId", "movieId", "tag", *timed), text=("tag",)
        )
        tags = None if given is None else given[0]
    if (folder / "links.csv").exists():
        links = found.attempt(_films, folder / "links.csv", required=("movieId", "imdbId"), text=("imdbId",))
    if found or rated is None or movies is None:
        raise found.error()
    ratings, source = rated
    if not unrated:
        movies = movies.filter(pl.col("movieId").is_in(ratings["movieId"].unique().implode()))
    videos = movies.with_columns(
        title=pl.col("title").cast(pl.String).str.replace(r"\s*\(\d{4}\)\s*$", ""),
        year=pl.col("title").cast(pl.String).str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32),
        genres=pl.col("genres").cast(pl.String).replace("(no genres listed)", ""),
    )
    known = Vocabulary(videos["movieId"])
    if tags is not None:
        if tags_before is not None:
            tags = tags.filter(pl.col("timestamp") < tags_before)
        tags = tags.filter(pl.col("tag").is_not_null() & pl.Series(known.find(tags["movieId"]) >= 0))
        joined = tags.group_by("movieId").agg(tags=pl.col("tag").unique(maintain_order=True).str.join(", "))
        videos = videos.join(joined, on="movieId", how="left", maintain_order="left")
    if links is not None:
        videos = videos.join(links, on="movieId", how="left", maintain_order="left")
    dataset = Dataset.from_frames(
        ratings,
        None,
        videos.rename({"movieId": "video_id"}),
        user="userId",
        video="movieId",
        time="timestamp",
        duplicates=duplicates,
        name=name or folder.resolve().name,
        source=source,
    )
    entities = {"genre": column_entities(dataset, "genres")}
    if tags is not None:
        entities["tag"] = Entities.from_pairs(
            dataset.video_ids, tags["movieId"], tags["tag"].str.strip_chars().str.to_lowercase()
        )
    media = _posters(folder / "posters" if posters is None else existing(posters, "folder"), dataset.video_ids)
    if min_rating is not None:
        rated = dataset.interactions["rating"]
        if not rated.dtype.is_numeric():
            raise DataError("ratings are not numbers", file=source.file, column="rating", fix="repair the column")
        dataset = dataset.where(pl.col("rating") >= min_rating)
    return Dataset(**{**vars(dataset), "entities": entities, "media": media})


def _films(file: Path, *, required: Sequence[str], text: Sequence[str] = ()) -> pl.DataFrame:
    """A table with one line a film; two are refused while lines are still known."""
    table, source = read_table(file, required=required, text=text)
    Vocabulary(table["movieId"], source)
    return table


def _posters(folder: Path, videos: Vocabulary) -> dict[str, list[list[Path]]]:
    found = files_by_id(folder, IMAGES)
    known = dict(zip(found, videos.find(list(found)))) if found else {}
    # posters of films outside this catalogue are common: the folder serves several MovieLens sets
    inside = {raw: files for raw, files in found.items() if known[raw] >= 0}
    return {"image": media_rows(videos, inside)} if inside else {}
