"""MovieLens in all its sizes: CSVs, ``::``-separated .dat files, and the u.* files of the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from mmgraph.data.aligning import media_rows
from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset, Entities
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.media_folder import IMAGES, column_entities
from mmgraph.data.readers.tables import existing, files_by_id
from mmgraph.data.vocabulary import Vocabulary

_RATINGS = ("userId", "movieId", "rating", "timestamp")
_FILMS = ("movieId", "title", "genres")
# The flags of ml-100k's u.item, in its order.
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_U_ITEM = ("movieId", "title", "release_date", "video_release_date", "imdb_url", *_GENRES)


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
    """Read a MovieLens folder as it unpacks: ml-latest(-small), ml-20m, ml-25m, ml-32m (CSVs), ml-1m and ml-10M100K
    (``.dat``, in latin-1 where they are), ml-100k (``u.data``, ``u.item``, ``u.user``).

    Harper and Konstan, "The MovieLens Datasets", TiiS 2015, https://doi.org/10.1145/2827872. Reads ratings
    (signal ``rating``, ``time``), films (columns ``title`` without the year, ``year``, ``genres``; entities
    ``genre``), users when there (gender, age, occupation), tags when there (column ``tags``: the words users gave, ", "
    between them; entities ``tag`` in lower case), links.csv when there (``imdbId``, ``tmdbId``) and posters
    (``<movieId>.jpg``, as ``image`` media).

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
    files = _files(folder)
    found = Findings()
    rated = found.attempt(_table, files.ratings, _RATINGS)
    movies = found.attempt(_films, files.films, _FILMS)
    tags = links = people = None
    if files.tags is not None:
        timed = () if tags_before is None else ("timestamp",)
        given = found.attempt(_table, files.tags, ("userId", "movieId", "tag", "timestamp"), timed, ("tag",))
        tags = None if given is None else given[0]
    if files.links is not None:
        links = found.attempt(_films, files.links, ("movieId", "imdbId"), ("imdbId",))
    if files.users is not None:
        people = found.attempt(_table, files.users, _USERS[files.users.name])
    if found or rated is None or movies is None:
        raise found.error()
    ratings, source = rated
    known_films = Vocabulary(movies["movieId"])
    if not unrated:
        seen = pl.Series(known_films.find(ratings["movieId"]))
        movies = movies[seen.filter(seen >= 0).unique().sort()]
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
        None if people is None else _of_raters(people[0], ratings),
        videos.rename({"movieId": "video_id"}),
        user="userId",
        video="movieId",
        time="timestamp",
        duplicates=duplicates,
        name=name or folder.resolve().name,
        source=source,
        users_source=None if people is None else people[1],
    )
    entities = {"genre": column_entities(dataset, "genres")}
    if tags is not None:
        entities["tag"] = Entities.from_pairs(
            dataset.video_ids, tags["movieId"], tags["tag"].str.strip_chars().str.to_lowercase()
        )
    media = _posters(folder / "posters" if posters is None else existing(posters, "folder"), dataset.video_ids)
    if min_rating is not None:
        stars = dataset.interactions["rating"]
        if not stars.dtype.is_numeric():
            raise DataError("ratings are not numbers", file=source.file, column="rating", fix="repair the column")
        dataset = dataset.where(pl.col("rating") >= min_rating)
    origin = replace(dataset.origin, layout="MovieLens", files=files.all())
    return replace(dataset, entities=entities, media=media, origin=origin)


_USERS = {
    "users.dat": ("userId", "gender", "age", "occupation", "zip_code"),
    "u.user": ("userId", "age", "gender", "occupation", "zip_code"),
}


@dataclass(frozen=True)
class _Files:
    """What is where."""

    ratings: Path
    films: Path
    users: Path | None = None
    tags: Path | None = None
    links: Path | None = None

    def all(self) -> tuple[Path, ...]:
        return tuple(f for f in (self.ratings, self.films, self.users, self.tags, self.links) if f is not None)


def _files(folder: Path) -> _Files:
    def there(name: str) -> Path | None:
        return folder / name if (folder / name).exists() else None

    if (folder / "u.data").exists():
        return _Files(folder / "u.data", folder / "u.item", there("u.user"))
    if (folder / "ratings.dat").exists():
        return _Files(folder / "ratings.dat", folder / "movies.dat", there("users.dat"), there("tags.dat"))
    return _Files(folder / "ratings.csv", folder / "movies.csv", None, there("tags.csv"), there("links.csv"))


def _table(
    file: Path, columns: Sequence[str], required: Sequence[str] = (), text: Sequence[str] = ()
) -> tuple[pl.DataFrame, Source]:
    """A table of MovieLens: with a header in .csv, without one in its older files, which are latin-1 or UTF-8."""
    ids = ("userId", "movieId")
    if file.suffix == ".csv":
        needed = [c for c in columns if c != "timestamp" or columns is _RATINGS or c in required]
        return read_table(file, required=needed, ids=ids, text=text)
    written = {"header": False, "columns": columns, "quote": None, "ids": ids, "text": (*text, "zip_code")}
    separator = "::" if file.suffix == ".dat" else ("\t" if file.name == "u.data" else "|")
    try:
        return read_table(file, separator=separator, **written)  # type: ignore[arg-type]
    except DataError as error:
        if "is not UTF-8" not in error.problem:
            raise
        return read_table(file, separator=separator, encoding="latin-1", **written)  # type: ignore[arg-type]


def _films(file: Path, columns: Sequence[str], text: Sequence[str] = ()) -> pl.DataFrame:
    """A table with one line a film; two are refused while lines are still known."""
    table, source = _table(file, _U_ITEM if file.name == "u.item" else columns, (), text)
    Vocabulary(table["movieId"], source)
    if file.name != "u.item":
        return table
    flags = [pl.when(pl.col(g) == 1).then(pl.lit(g)) for g in _GENRES if g != "unknown"]
    return table.select("movieId", "title", pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres"))


def _of_raters(people: pl.DataFrame, ratings: pl.DataFrame) -> pl.DataFrame:
    """The users who rated, in the order of the table."""
    people = people.rename({"userId": "user_id"})
    rated = Vocabulary(ratings["userId"].unique())
    return people.filter(pl.Series(rated.find(people["user_id"]) >= 0))


def _posters(folder: Path, videos: Vocabulary) -> dict[str, list[list[Path]]]:
    found = files_by_id(folder, IMAGES)
    known = dict(zip(found, videos.find(list(found)))) if found else {}
    # posters of films outside this catalogue are common: the folder serves several MovieLens sets
    inside = {raw: files for raw, files in found.items() if known[raw] >= 0}
    return {"image": media_rows(videos, inside)} if inside else {}
