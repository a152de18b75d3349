"""What each request showed: impression logs and candidate lists, as exposures of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mmgraph.data.aligning import ID_COLUMNS
from mmgraph.data.checks import check_columns, numbers
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import Source
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.times import TimeUnit, times
from mmgraph.data.vocabulary import Vocabulary, as_ids

_NAMES = {
    "request": ("request", "request_id", "impression_id", "impression", "req_id"),
    "user": ID_COLUMNS["user"],
    "video": (*ID_COLUMNS["video"], "impressions", "candidates"),
    "click": ("click", "clicked", "label", "is_click"),
    "time": ("timestamp", "time"),
    "position": ("position", "rank"),
    "propensity": ("propensity",),
}
_FALSE_TRUE = (0.0, 1.0)


def read_impressions(
    path: str | Path | pl.DataFrame,
    dataset: Dataset,
    *,
    request: str | None = None,
    user: str | None = None,
    video: str | None = None,
    click: str | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    time_format: str | None = None,
    columns: Sequence[str] | None = None,
    separator: str | None = None,
    encoding: str | None = None,
) -> pl.DataFrame:
    """What each request showed, in the rows of a dataset: ``Dataset.exposures``, or the candidates of an evaluation.

    One row a shown video (request, user, video, click), or one row a request whose video cell lists the videos with
    blanks between them, ``n3-1 n5-0`` where clicks are told. ::

        shown = read_impressions("impressions.csv", dataset)
        evaluate(model, graph, None, candidates=shown)

    Args:
        path: the file, or a table in memory.
        dataset: whose users and videos the ids are.
        request, user, video, click, time: column names; by default the first that exists of request, request_id,
            impression_id, …; user_id, user, …; video_id, video, item_id, …, impressions; click, clicked, label,
            is_click; timestamp, time. Without a request, each row is one of its own where its cell lists videos; else
            an error.
        time_unit, time_format: see :meth:`Dataset.from_frames`.
        columns, separator, encoding: see :func:`mmgraph.data.read_csv`.

    Returns:
        The columns of ``Dataset.exposures``: ``user``, ``video`` rows, ``request`` (0, 1, … as they come), ``position``
        and, where known, ``click``, ``time``, ``propensity``; other columns under their names.

    Raises:
        DataError: a missing column, an unknown id, a request of two users, a click that is neither 0 nor 1.
    """
    if isinstance(path, pl.DataFrame):
        frame, source = path, Source()
    else:
        ids = [name for part in ("user", "video", "request") for name in _NAMES[part]]
        ids += [name for name in (user, video, request) if name is not None]
        frame, source = read_table(path, ids=ids, columns=columns, separator=separator, encoding=encoding)
    given = {"request": request, "user": user, "video": video, "click": click, "time": time}
    names = {part: _column(frame, part, given.get(part), source) for part in _NAMES}
    for part in ("user", "video"):
        if names[part] is None:
            check_columns(frame, [f"{part}_id"], source)
    asked, shown = str(names["user"]), str(names["video"])
    listed = _holds_lists(frame[shown], dataset.video_ids)
    if names["request"] is None and not listed:
        raise source.error(
            f"no column says which videos were shown together; there are {frame.columns}",
            column="request",
            fix="name it: request='…'",
        )
    request_of = pl.Series(np.arange(len(frame))) if names["request"] is None else frame[str(names["request"])]
    rows = np.arange(len(frame))
    videos, clicks = frame[shown], None if names["click"] is None else frame[str(names["click"])]
    if listed:
        videos, marks, rows = _unfold(videos, source)
        clicks = marks if marks is not None else None if clicks is None else clicks.gather(rows)
        source, request_of = source.of_rows(rows), request_of.gather(rows)
        frame = frame[rows]
    if request_of.null_count():
        bad = request_of.is_null().arg_true().to_numpy()
        problem = "the request is missing"
        raise source.error(problem, rows=bad, column=names["request"], fix="fill it in or drop the row")
    extra: dict[str, Any] = {}
    if names["time"] is not None:
        extra["time"] = times(frame[str(names["time"])], source, time_unit, time_format).seconds
    taken = {name for name in names.values() if name is not None}
    signals = [c for c in frame.columns if c not in taken and c not in (*_NAMES, "held_out")]
    if names["propensity"] is not None:
        extra["propensity"] = numbers(frame[str(names["propensity"])], source)
    return exposure_table(
        frame[asked],
        videos,
        dataset.user_ids,
        dataset.video_ids,
        source,
        click=clicks,
        request=request_of,
        position=None if listed or names["position"] is None else frame[str(names["position"])],
        others=[pl.Series(key, value) for key, value in extra.items()] + [frame[c] for c in signals],
    )


def exposure_table(
    user: pl.Series,
    video: pl.Series,
    users: Vocabulary,
    videos: Vocabulary,
    source: Source,
    *,
    click: pl.Series | None = None,
    request: pl.Series | None = None,
    position: pl.Series | None = None,
    others: Sequence[pl.Series] = (),
) -> pl.DataFrame:
    """The columns of ``Dataset.exposures`` from raw ids [n], checked.

    Args:
        click: 0, 1 or null.
        request: what was shown together, of one user; numbered as they come. The place in it is the order of the rows
            unless ``position`` tells it.
        others: further columns [n], of the types that exposures have.

    Raises:
        DataError: an unknown id, a request of two users, a click that is neither 0 nor 1.
    """
    made = [
        pl.Series("user", users.rows(user, source=source, column=user.name)),
        pl.Series("video", videos.rows(video, source=source, column=video.name)),
    ]
    if request is not None:
        order = request.to_frame("r").with_columns(n=pl.int_range(pl.len(), dtype=pl.Int64))
        first = order.select(pl.col("n").min().over("r"))["n"]
        number = first.rank("dense").cast(pl.Int64) - 1
        table = pl.DataFrame([number.alias("request"), made[0]])
        several = table.select(pl.col("user").n_unique().over("request"))["user"] > 1
        if several.any():
            row = int(several.arg_max() or 0)
            raise source.error(
                f"request {request[row]!r} is of several users", row=row, column=user.name, fix="one user a request"
            )
        if position is None:
            position = table.select(place=pl.int_range(pl.len(), dtype=pl.Int64).over("request"))["place"]
        made.append(number.alias("request"))
    if position is not None:
        made.append(numbers(position, source, pl.Int64).alias("position"))
    if click is not None:
        known = click.cast(pl.Float64, strict=False)
        bad = (click.is_not_null() & ~known.is_in(_FALSE_TRUE).fill_null(False)).arg_true().to_numpy()
        if len(bad):
            problem = f"{click[int(bad[0])]!r} is neither 0 nor 1"
            raise source.error(
                problem, rows=bad, column=click.name or "click", fix="name the column of clicks: click='…'"
            )
        made.append(known.cast(pl.Int8).alias("click"))
    return pl.DataFrame([*made, *others])


def _column(frame: pl.DataFrame, part: str, given: str | None, source: Source) -> str | None:
    if given is not None:
        check_columns(frame, [given], source)
        return given
    return next((name for name in _NAMES[part] if name in frame.columns), None)


def _holds_lists(column: pl.Series, videos: Vocabulary) -> bool:
    """Whether the cells list videos: blanks, or a click's mark, in something that is no id itself."""
    if column.dtype != pl.String:
        return False
    marked = column.str.contains(r"\s|-[01]$").fill_null(False)
    odd = column.filter(marked).head(100)
    return len(odd) > 0 and bool((videos.find(as_ids(odd)) < 0).all())


def _unfold(cells: pl.Series, source: Source) -> tuple[pl.Series, pl.Series | None, np.ndarray]:
    """One video a row, its click where every cell tells it, and the row of the cell."""
    lists = cells.fill_null("").str.strip_chars().str.split(" ")
    long = pl.DataFrame({"row": np.arange(len(cells)), "token": lists}).explode("token")
    long = long.filter(pl.col("token") != "")
    token = long["token"]
    if not len(token):
        raise source.error("no video is listed", column=cells.name, fix="name the column that lists the videos")
    rows = long["row"].to_numpy()
    if not token.str.contains(r"-[01]$").all():
        return token.alias(cells.name), None, rows
    return token.str.head(-2).alias(cells.name), token.str.tail(1).cast(pl.Int8), rows
