"""Microsoft News: impressions, what was clicked in them, and the articles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.impressions import exposure_table
from mmgraph.data.readers.media_folder import column_entities
from mmgraph.data.readers.tables import existing
from mmgraph.data.times import times
from mmgraph.data.vocabulary import Vocabulary

_BEHAVIORS = ("impression_id", "user_id", "time", "history", "impressions")
_NEWS = ("video_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
_TIME = "%m/%d/%Y %I:%M:%S %p"
# Folders as the archives unpack, and the part each is.
_PARTS = {"train": 0, "dev": 1, "test": 2}


def mind_folders(folder: Path) -> list[tuple[Path, int]]:
    """The folders that hold behaviors.tsv, with the part (0 train, 1 dev, 2 test) their names tell, in that order."""
    if (folder / "behaviors.tsv").exists():
        return [(folder, next((p for word, p in _PARTS.items() if word in folder.name.lower()), 0))]
    found = [f for f in sorted(folder.iterdir()) if f.is_dir() and (f / "behaviors.tsv").exists()]
    parts = [(f, next((p for word, p in _PARTS.items() if word in f.name.lower()), 0)) for f in found]
    return sorted(parts, key=lambda pair: pair[1])


def read_mind(
    path: str | Path, *, history: bool = False, duplicates: Duplicates = "error", name: str | None = None
) -> Dataset:
    """Read MIND (small or large): ``behaviors.tsv`` and ``news.tsv`` of one folder, or of ``…_train`` beside ``…_dev``
    and ``…_test``.

    Wu et al., "MIND: A Large-scale Dataset for News Recommendation", ACL 2020,
    https://aclanthology.org/2020.acl-main.331. Interactions are the clicks, with ``time`` and the column ``split`` (0
    train, 1 dev, 2 test) for ``published_split(dataset, "split")``; exposures are all that the impressions showed,
    request by request. Those of the test, whose clicks are secret, are ``held_out``. Columns ``title``, ``abstract``,
    ``category``, ``subcategory``, ``url``; entities ``category`` and ``subcategory``.

    Args:
        path: the folder, or that of the unpacked archives.
        history: also read the clicks before the impressions, which have no time: then there is no column ``time`` but
            ``position``, which is the order of a user's clicks.
        duplicates: an article clicked in two impressions repeats a pair: see :meth:`Dataset.from_frames`. With a
            history, ``first`` keeps its first click.

    Raises:
        DataError: no behaviors.tsv, an article that no news.tsv lists, a line of another layout.
    """
    folder = existing(path, "folder")
    places = mind_folders(folder) if folder.is_dir() else []
    if not places:
        fix = "give the folder of behaviors.tsv and news.tsv, or the one above it"
        raise DataError("there is no behaviors.tsv", file=folder, fix=fix)
    found = Findings()
    written = {"header": False, "separator": "\t", "quote": None}
    logs, news, files = [], [], []
    for place, part in places:
        log = found.attempt(
            read_table,
            place / "behaviors.tsv",
            columns=_BEHAVIORS,
            text=("user_id", "history", "impressions"),
            **written,
        )
        table = found.attempt(read_table, place / "news.tsv", columns=_NEWS, text=_NEWS, **written)
        files += [place / "behaviors.tsv", place / "news.tsv"]
        if log is not None and table is not None:
            logs.append((*log, part))
            news.append(table[0])
    if found:
        raise found.error()
    videos = pl.concat(news).unique("video_id", keep="first", maintain_order=True)
    videos = videos.select("video_id", "title", "abstract", "category", "subcategory", "url")
    users = pl.concat([log["user_id"] for log, _, _ in logs]).unique().sort().to_frame()
    user_ids, video_ids = Vocabulary(users["user_id"]), Vocabulary(videos["video_id"])
    shown, clicks, requests = [], [], 0
    for log, source, part in logs:
        table = _shown(log, source, user_ids, video_ids, part)
        shown.append(table.with_columns(request=pl.col("request") + requests))
        requests += len(log)
        if history:
            clicks.append(_before(log, source, user_ids, video_ids, part))
        clicked = table.filter(pl.col("click") == 1).select("user", "video", "time")
        clicks.append(clicked.with_columns(split=pl.lit(part, dtype=pl.Int8)))
    exposures = pl.concat(shown, how="diagonal")
    log = pl.concat(clicks, how="diagonal")
    if history:
        # unknown times, those of the history, come before all others
        log = log.sort("time", nulls_last=False, maintain_order=True)
        log = log.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64).over("user")).drop("time")
    dataset = Dataset.from_frames(
        log.with_columns(user=user_ids.ids.gather(log["user"]), video=video_ids.ids.gather(log["video"])),
        users,
        videos,
        user="user",
        video="video",
        duplicates=duplicates,
        name=name or folder.resolve().name,
        source=Source(folder),
    )
    entities = {column: column_entities(dataset, column, "\n") for column in ("category", "subcategory")}
    origin = replace(dataset.origin, layout="MIND", files=tuple(files))
    return replace(dataset, exposures=exposures, entities=entities, origin=origin)


def _shown(log: pl.DataFrame, source: Source, users: Vocabulary, videos: Vocabulary, part: int) -> pl.DataFrame:
    """The exposures of one behaviors.tsv."""
    lists = log["impressions"].str.strip_chars().str.split(" ")
    long = pl.DataFrame({"row": np.arange(len(log)), "token": lists}).explode("token")
    long = long.filter(pl.col("token").is_not_null() & (pl.col("token") != ""))
    rows, token = long["row"].to_numpy(), long["token"]
    marked = token.str.contains(r"-[01]$")
    if marked.any() and not marked.all():
        row = rows[(~marked).arg_true().to_numpy()]
        raise source.error("clicks are told of some videos only", rows=row, column="impressions", fix="mend the line")
    secret = not marked.any()
    moments = times(log["time"], source, time_format=_TIME).seconds
    table = exposure_table(
        log["user_id"].gather(rows),
        (token if secret else token.str.head(-2)).alias("impressions"),
        users,
        videos,
        source.of_rows(rows),
        click=pl.repeat(None, len(rows), dtype=pl.Int8, eager=True) if secret else token.str.tail(1).cast(pl.Int8),
        request=pl.Series("impression", rows),
        others=[moments.gather(rows)],
    )
    return table.with_columns(held_out=pl.lit(secret and part > 0))


def _before(log: pl.DataFrame, source: Source, users: Vocabulary, videos: Vocabulary, part: int) -> pl.DataFrame:
    """The clicks of each user's longest history; those of later impressions go on from it."""
    histories = log.select("user_id", "history").with_row_index("row").filter(pl.col("history").is_not_null())
    histories = histories.with_columns(pl.col("history").str.strip_chars().str.split(" "))
    longest = histories.sort(pl.col("history").list.len(), descending=True, maintain_order=True)
    longest = longest.unique("user_id", keep="first", maintain_order=True).explode("history")
    longest = longest.filter(pl.col("history") != "")
    place = source.of_rows(longest["row"].to_numpy())
    return pl.DataFrame(
        {
            "user": users.rows(longest["user_id"], source=place),
            "video": videos.rows(longest["history"], source=place, column="history"),
            "time": pl.Series([None] * len(longest), dtype=pl.Float64),
            "split": pl.Series([0] * len(longest), dtype=pl.Int8),
        }
    )
