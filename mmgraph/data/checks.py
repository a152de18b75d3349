"""What has to hold in a table or a matrix, and the error when it does not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.vocabulary import Vocabulary

Duplicates = Literal["error", "first", "last", "sum", "keep"]


def to_polars(frame: Any, source: Source | None = None) -> pl.DataFrame:
    """A polars frame from a polars (lazy) frame, a pandas frame or a mapping of columns; pandas needs no pyarrow.

    Raises:
        DataError: no table, a column named twice, columns of different lengths, or values that mix types.
    """
    source = source or Source()
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        try:
            return frame.collect()
        except pl.exceptions.PolarsError as error:
            raise source.error(
                f"the lazy frame cannot be read: {first_line(error)}", fix="correct the query"
            ) from error
    if not (hasattr(frame, "keys") and hasattr(frame, "__getitem__")):
        problem = f"a {type(frame).__name__} is not a table"
        raise source.error(problem, fix="pass a polars frame, a pandas frame or a mapping of columns")
    names = [str(name) for name in frame.keys()]  # noqa: SIM118  (pandas too)
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise source.error("the name is used for two columns", column=twice, fix="rename one of them")
    columns = [_column(name, frame[key], source) for name, key in zip(names, frame.keys())]
    lengths = {c.name: len(c) for c in columns}
    if len(set(lengths.values())) > 1:
        raise source.error(f"columns of different lengths: {lengths}", fix="give each row a value in every column")
    return pl.DataFrame(columns)


def first_line(error: BaseException) -> str:
    """The first line of what another library's error says, for a sentence of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _column(name: str, values: Any, source: Source) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "isna"):  # a pandas series: its own extension types are not numpy's
        missing = values.isna().to_numpy()
        array = values.to_numpy()
        if array.dtype.kind in "OUT" or not isinstance(getattr(values, "dtype", None), np.dtype):
            values = [None if m else v for v, m in zip(array.tolist(), missing)]
        else:
            values = array
    if isinstance(values, np.ndarray) and values.dtype.kind == "M" and values.ndim == 1:
        if np.datetime_data(values.dtype)[0] not in ("D", "ms", "us", "ns"):  # the resolutions that polars has
            values = values.astype("datetime64[us]")
    elif isinstance(values, np.ndarray) and values.dtype.kind == "O" and values.ndim == 1:
        values = values.tolist()
    try:
        return pl.Series(name, values if isinstance(values, (np.ndarray, list, range)) else list(values))
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        if isinstance(values, list) and {type(v) for v in values if v is not None} == {int}:
            return pl.Series(name, [None if v is None else str(v) for v in values])  # beyond every integer type
        raise source.error(
            f"the values are no column of one type ({first_line(error)})",
            column=name,
            fix="make them all numbers or all text: frame[column] = frame[column].astype(str)",
        ) from error


def near(word: str, words: Iterable[str]) -> str:
    """``; did you mean 'timestamp'?`` where one of the words is close to a misspelt one, else nothing."""
    words = list(words)
    folded = {w.strip().lower().replace("_", "").replace("-", ""): w for w in words}
    key = word.strip().lower().replace("_", "").replace("-", "")
    close = [folded[key]] if key in folded else difflib.get_close_matches(word, words, n=1, cutoff=0.75)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_word(value: str, words: Iterable[str], argument: str) -> str:
    """One of the words an argument takes.

    Raises:
        ValueError: it is none of them, with the one that is close.
    """
    words = list(words)
    if value not in words:
        said = near(value, words) if isinstance(value, str) else ""
        raise ValueError(f"{argument}={value!r}: use one of {', '.join(map(repr, words))}{said}")
    return value


def check_count(value: int | None, argument: str, *, optional: bool = False) -> None:
    """Raises a TypeError or ValueError for what is no whole number from 0 on (or None, where it is ``optional``)."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{argument}={value!r}: give a whole number")
    if value < 0:
        raise ValueError(f"{argument}={value}: give a number from 0 on")


def check_columns(frame: pl.DataFrame, required: Iterable[str], source: Source) -> None:
    """Raises a DataError for each missing column, with the columns there are."""
    found = Findings()
    for column in required:
        if not isinstance(column, str):
            raise TypeError(f"column {column!r}: give the name of a column, one of {frame.columns}")
        if column not in frame.columns:
            found.add(
                source.error(
                    f"the column is missing; there are {frame.columns}{near(column, frame.columns)}",
                    column=column,
                    fix="add it, or name the column that plays its part in the reader's arguments",
                )
            )
    if found:
        raise found.error()


def numbers(column: pl.Series, source: Source, dtype: Any = pl.Float32) -> pl.Series:
    """A numeric column without gaps.

    Raises:
        DataError: text, a missing value, NaN or infinity, with its row.
    """
    try:
        values = column.cast(dtype, strict=False)
    except pl.exceptions.PolarsError as error:
        problem = f"the column is {column.dtype}, not numbers"
        raise source.error(problem, column=column.name, fix="make it numbers, or name another column") from error
    bad = values.is_null() | ~values.cast(pl.Float64).is_finite().fill_null(False)
    if bad.any():
        rows = bad.arg_true().to_numpy()
        raise source.error(
            f"{column[int(rows[0])]!r} is not a finite number",
            rows=rows,
            column=column.name,
            fix="correct it or drop the row",
        )
    return values


_EXPOSURE_TYPES = {
    "user": pl.Int64,
    "video": pl.Int64,
    "request": pl.Int64,
    "position": pl.Int64,
    "time": pl.Float64,
    "propensity": pl.Float32,
    "click": pl.Int8,
    "held_out": pl.Boolean,
}


def check_exposures(table: pl.DataFrame, num_users: int, num_videos: int) -> None:
    """Raises a DataError where a table of exposures lacks user or video, has another type or a row outside the data."""
    source = Source("exposures")
    check_columns(table, ["user", "video"], source)
    for column, kind in _EXPOSURE_TYPES.items():
        if column in table.columns and table[column].dtype != kind:
            raise source.error(f"the column is {table[column].dtype}", column=column, fix=f"cast it to {kind}")
    for column, count in (("user", num_users), ("video", num_videos)):
        rows = table[column]
        bad = rows.is_null() | (rows < 0) | (rows >= count)
        if bad.any():
            places = bad.arg_true().to_numpy()
            problem = f"{rows[int(places[0])]!r} is none of the {count} rows"
            raise source.error(problem, rows=places, column=column, fix="map the raw ids to rows first")
    if "propensity" in table.columns:
        bad = ~table["propensity"].is_between(0, 1, closed="right").fill_null(True)
        if bad.any():
            places = bad.arg_true().to_numpy()
            problem = f"{table['propensity'][int(places[0])]!r} is no chance"
            raise source.error(problem, rows=places, column="propensity", fix="give chances above 0 and up to 1")


def pair_keys(frame: pl.DataFrame, num_videos: int) -> NDArray[np.int64]:
    """user·V + video for each row [E]: one integer a pair."""
    keys = frame["user"].to_numpy() * np.int64(max(num_videos, 1))
    keys += frame["video"].to_numpy()
    return keys


def has_duplicates(keys: NDArray[np.int64]) -> bool:
    """Whether a value occurs twice. Sorts a copy: twice as fast as a hash set at 20 M rows, with half the memory."""
    ordered = np.sort(keys)
    return bool((ordered[1:] == ordered[:-1]).any())


def resolve_duplicates(
    frame: pl.DataFrame, users: Vocabulary, videos: Vocabulary, policy: Duplicates, source: Source, column: str
) -> pl.DataFrame:
    """Apply the policy to rows that repeat a (user, video) pair; rows keep their order.

    ``error`` refuses them, ``keep`` keeps every event, ``first`` and ``last`` keep one of them in time (then
    position, then file) order, ``sum`` keeps the first with the weights added (a missing weight counts 1).
    """
    check_word(policy, get_args(Duplicates), "duplicates")
    if policy == "keep":
        return frame
    keys = pair_keys(frame, len(videos))
    if not has_duplicates(keys):
        return frame
    if policy == "error":
        seen = pl.Series(keys)
        row = int(seen.is_first_distinct().not_().arg_true()[0])
        first = int(np.argmax(keys == keys[row]))
        earlier = ", ".join(f"{k} {v}" for k, v in source.place(first).items() if k != "file" and v is not None)
        user, video = users.raw([frame["user"][row]])[0], videos.raw([frame["video"][row]])[0]
        raise source.error(
            f"user {user!r} and video {video!r} are there already ({earlier}); {len(keys) - seen.n_unique()} rows "
            "repeat a pair",
            row=row,
            column=column,
            fix="remove the duplicates, or say what they mean: duplicates='first', 'last', 'sum' or 'keep'",
        )
    by = [frame[c].to_numpy() for c in ("position", "time") if c in frame.columns]
    order = np.lexsort([*by, keys])  # stable: file order breaks the remaining ties
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if policy == "last":
        chosen = order[np.r_[starts[1:], len(order)] - 1]
        return frame[np.sort(chosen)]
    chosen = order[starts]
    if policy == "sum":
        weight = frame["weight"].to_numpy() if "weight" in frame.columns else np.ones(len(frame), dtype=np.float32)
        total = np.add.reduceat(weight[order].astype(np.float64), starts).astype(np.float32)
        back = np.argsort(chosen)
        return frame[chosen[back]].with_columns(weight=pl.Series(total[back], dtype=pl.Float32))
    return frame[np.sort(chosen)]


def finite_matrix(values: Any, what: str, source: Source | None = None) -> Tensor:
    """A [rows, width] float32 tensor. float16 and float64 are cast.

    Raises:
        DataError: not a matrix of numbers, or NaN or infinity, with row and column.
    """
    source = source or Source()
    tensor = values if isinstance(values, Tensor) else None
    if tensor is None:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise source.error(f"{what} holds {array.dtype}, not numbers", fix="save it as a float array")
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    tensor = tensor.detach().to(torch.float32)
    if tensor.ndim != 2:
        raise source.error(f"{what} has shape {tuple(tensor.shape)}", fix="make it [videos, width]")
    bad = ~torch.isfinite(tensor)
    if bool(bad.any()):
        row, column = bad.nonzero()[0].tolist()
        file = source.file
        raise DataError(
            f"{what}: value {tensor[row, column].item()} is not finite ({int(bad.any(1).sum())} rows have one)",
            file=file,
            row=row,
            column=str(column),
            fix="recompute the row, or mark it absent (present=False): an absent modality is a missing edge",
        )
    return tensor
