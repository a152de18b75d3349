"""From tables that hold raw ids to the parts of a dataset: ids become rows, every value is checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import polars as pl

from mmgraph.data.aligning import Unicode, column_of, entities_of, features_of, index_ids, media_rows, needed_column
from mmgraph.data.checks import Duplicates, check_word, finite_matrix, numbers, resolve_duplicates, to_polars
from mmgraph.data.errors import DataError, Findings, Origin, Source
from mmgraph.data.times import TimeUnit, times

_PARTS = ("user", "video", "time", "weight")
# Names that the stores of a PyG graph keep for themselves.
_GRAPH_NAMES = ("edge_index", "edge_attr", "edge_label", "num_edges", "num_nodes", "adj", "adj_t")


def assembled(
    interactions: Any,
    users: Any,
    videos: Any,
    features: Mapping[str, Any] | None,
    *,
    user: str | None,
    video: str | None,
    time: str | None,
    weight: str | None,
    time_unit: TimeUnit | None,
    time_format: str | None,
    duplicates: Duplicates,
    unicode: Unicode,
    user_features: Any,
    media: Mapping[str, Mapping[Any, Sequence[Path]]] | None,
    entities: Mapping[str, Any] | None,
    name: str,
    source: Source | str | Path | None,
    users_source: Source | str | Path | None,
    videos_source: Source | str | Path | None,
) -> dict[str, Any]:
    """What :class:`~mmgraph.data.Dataset` is made from; the arguments are those of ``Dataset.from_frames``."""
    check_word(unicode, get_args(Unicode), "unicode")
    for what, given in (("features", features), ("media", media), ("entities", entities)):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{what} of type {type(given).__name__}: give a mapping of names")
    src, usrc, vsrc = _source(source), _source(users_source), _source(videos_source)
    frame = to_polars(interactions, src)
    if not len(frame):
        raise src.error("there are no interactions", fix="check the file and the filters")
    user_table = None if users is None else to_polars(users, usrc)
    video_table = None if videos is None else to_polars(videos, vsrc)
    found = Findings()
    user = found.attempt(needed_column, frame, "user", user, src)
    video = found.attempt(needed_column, frame, "video", video, src)
    time = found.attempt(column_of, frame, "time", time, src)
    weight = found.attempt(column_of, frame, "weight", weight, src)
    of_user = (
        None if user is None else found.attempt(index_ids, frame[user], user_table, "user", user, src, usrc, unicode)
    )
    of_video = (
        None
        if video is None
        else found.attempt(index_ids, frame[video], video_table, "video", video, src, vsrc, unicode)
    )
    seconds = None if time is None else found.attempt(times, frame[time], src, time_unit, time_format)
    weights = None if weight is None else found.attempt(numbers, frame[weight], src)
    if found or of_user is None or of_video is None:
        raise found.error()

    user_ids, user_rows, user_table = of_user
    video_ids, video_rows, video_table = of_video
    columns = [pl.Series("user", user_rows), pl.Series("video", video_rows)]
    notes = [_said(place, note) for place in (src, usrc, vsrc) for note in place.notes]
    if seconds is not None:
        columns.append(seconds.seconds)
        notes += [] if seconds.note is None else [_said(src, seconds.note)]
    if weights is not None:
        columns.append(weights.rename("weight"))
    kept = [c for c in frame.columns if c not in {user, video, time, weight}]
    for column in kept:
        signal = frame[column]
        if column in (*_PARTS, *_GRAPH_NAMES) or (column == "position" and not signal.dtype.is_numeric()):
            other = next(n for n in _other_names(column) if n not in frame.columns)
            notes.append(_said(src, f"column {column!r} is kept as {other!r}: the name has a part to play"))
            signal = signal.alias(other)
        columns.append(signal)
    del of_user, of_video, user_rows, video_rows
    table = pl.DataFrame(columns)
    table = resolve_duplicates(table, user_ids, video_ids, duplicates, src, f"{user}, {video}")

    made = {}
    dense = videos is None and len(video_ids) > 0 and video_ids.ids.dtype == pl.Int64 and video_ids.ids[0] == 0
    dense = dense and video_ids.ids[-1] == len(video_ids) - 1
    for modality, given in (features or {}).items():
        order = videos is not None or dense
        made[modality] = features_of(modality, given, video_ids, known_order=order, unicode=unicode)
    if user_features is not None:
        if users is None:
            raise DataError("user features without a users table have no row order", fix="pass users= as well")
        user_features = finite_matrix(user_features, "user features", usrc)
    return {
        "name": name,
        "user_ids": user_ids,
        "video_ids": video_ids,
        "interactions": table,
        "users": user_table,
        "videos": video_table,
        "features": made,
        "user_features": user_features,
        "media": {kind: media_rows(video_ids, files, unicode) for kind, files in (media or {}).items()},
        "entities": {key: entities_of(video_ids, pairs, unicode) for key, pairs in (entities or {}).items()},
        "origin": Origin("", tuple(Path(s.file) for s in (src, usrc, vsrc) if s.file is not None), tuple(notes)),
    }


def _said(source: Source, note: str) -> str:
    """A note that names the file it is about."""
    return note if source.file is None else f"{Path(source.file).name}: {note}"


def _other_names(column: str) -> Iterator[str]:
    """``time_column``, ``time_column_2``, …: what a column is called whose name has another part to play."""
    yield f"{column}_column"
    yield from (f"{column}_column_{n}" for n in itertools.count(2))


def _source(source: Source | str | Path | None) -> Source:
    return source if isinstance(source, Source) else Source(source)
