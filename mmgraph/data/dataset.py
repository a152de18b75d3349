"""What is known: who watched what and when, tables about users and videos, features, media."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.aligning import Unicode, column_of, entities_of, features_of, index_ids, media_rows, needed_column
from mmgraph.data.attached import Encoding, Entities, Features
from mmgraph.data.checks import (
    Duplicates,
    check_count,
    check_exposures,
    check_word,
    finite_matrix,
    first_line,
    numbers,
    resolve_duplicates,
    to_polars,
)
from mmgraph.data.errors import DataError, Findings, Origin, Source
from mmgraph.data.fingerprints import digest, hash_ids, hash_pairs, hash_table
from mmgraph.data.times import TimeUnit, times
from mmgraph.data.vocabulary import Vocabulary, as_tensor

__all__ = ["Dataset", "Encoding", "Entities", "Features", "Vocabulary"]

_PARTS = ("user", "video", "time", "weight")
# Names that the stores of a PyG graph keep for themselves.
_GRAPH_NAMES = ("edge_index", "edge_attr", "edge_label", "num_edges", "num_nodes", "adj", "adj_t")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions, tables, features and media, all indexed by user row and video row.

    Make one with :meth:`from_frames` or a reader: they turn raw ids into rows and check every value.

    Args:
        name: short name, the first part of protocol names.
        user_ids, video_ids: raw id <-> row; U users, V videos.
        interactions: one row an event. ``user`` and ``video`` Int64 rows; ``time`` Float64 UTC seconds, ``weight``
            Float32 and ``position`` Int64 (order within a user) where known; any other signal under its own name.
        users, videos: U and V rows, aligned with the vocabularies; the first column is the raw id.
        features: modality -> :class:`Features` with V rows.
        user_features: [U, D] float32 or None.
        media: ``image`` | ``audio`` | ``video`` -> the files of each video row, ``[]`` where there are none.
        entities: name -> :class:`Entities`.
        exposures: what was shown, one row a showing, or None where nobody knows. ``user`` and ``video`` Int64 rows;
            where known ``request`` Int64 (what was shown together), ``position`` Int64 (place in it, from 0), ``time``
            Float64 UTC seconds, ``propensity`` Float32 (the chance of being shown, in (0, 1]), ``click`` Int8 (1 taken,
            0 shown and ignored, null unknown), ``held_out`` Boolean (belongs to a test whose outcome is unknown); any
            other signal under its own name. A split says what of it may be known: :meth:`Split.exposures`.
        origin: where it was read from, and how.

    Raises:
        DataError: sizes that do not fit together, or an exposure outside the rows.
    """

    name: str
    user_ids: Vocabulary
    video_ids: Vocabulary
    interactions: pl.DataFrame
    users: pl.DataFrame
    videos: pl.DataFrame
    features: Mapping[str, Features] = field(default_factory=dict)
    user_features: Tensor | None = None
    media: Mapping[str, list[list[Path]]] = field(default_factory=dict)
    entities: Mapping[str, Entities] = field(default_factory=dict)
    exposures: pl.DataFrame | None = None
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        if self.exposures is not None:
            check_exposures(self.exposures, self.num_users, self.num_videos)
        fix = "give one row for each id, in vocabulary order"
        for what, table, count in (
            ("users", self.users, len(self.user_ids)),
            ("videos", self.videos, len(self.video_ids)),
        ):
            if len(table) != count:
                raise DataError(f"the {what} table has {len(table)} rows for {count} {what}", fix=fix)
        for modality, features in self.features.items():
            if len(features.values) != self.num_videos:
                raise DataError(
                    f"{len(features.values)} feature rows for {self.num_videos} videos",
                    column=modality,
                    fix=f"{fix}, or a pair (raw ids, matrix) when some videos have none",
                )
        if self.user_features is not None and len(self.user_features) != self.num_users:
            raise DataError(f"{len(self.user_features)} user feature rows for {self.num_users} users", fix=fix)
        for kind, files in self.media.items():
            if len(files) != self.num_videos:
                raise DataError(f"{kind} media of {len(files)} rows for {self.num_videos} videos", fix=fix)

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def num_videos(self) -> int:
        """V."""
        return len(self.video_ids)

    @property
    def num_interactions(self) -> int:
        """E, the rows of ``interactions``."""
        return len(self.interactions)

    def __repr__(self) -> str:
        parts = [f"{self.num_users} users", f"{self.num_videos} videos", f"{self.num_interactions} interactions"]
        parts += [f"{name} [{f.dim}]" for name, f in self.features.items()]
        return f"Dataset({self.name!r}: {', '.join(parts)})"

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        users: Any = None,
        videos: Any = None,
        features: Mapping[str, Any] | None = None,
        *,
        user: str | None = None,
        video: str | None = None,
        time: str | None = None,
        weight: str | None = None,
        time_unit: TimeUnit | None = None,
        time_format: str | None = None,
        duplicates: Duplicates = "error",
        unicode: Unicode = "error",
        user_features: Any = None,
        media: Mapping[str, Mapping[Any, Sequence[Path]]] | None = None,
        entities: Mapping[str, Any] | None = None,
        name: str = "dataset",
        source: Source | str | Path | None = None,
        users_source: Source | str | Path | None = None,
        videos_source: Source | str | Path | None = None,
    ) -> Dataset:
        """A dataset from tables that hold raw ids. Everything is checked; ids become rows.

        With a users (videos) table, its order is the row order and an id outside it is an error. Without, the ids
        that occur are sorted.

        Args:
            interactions: polars or pandas frame, or a mapping of columns. Columns without a part to play are kept as
                named signals (click, finish, like, …).
            users, videos: tables with an id column and anything else.
            features: modality -> a [V, D] matrix whose rows follow the videos table (or integer ids 0…V-1), a
                :class:`Features`, or a pair (raw ids, [n, D] matrix) when only some videos have them.
            user, video, time, weight: column names. By default the first that exists of user_id, user, …; video_id,
                video, item_id, …; timestamp, time; weight.
            time_unit: unit of numeric times; seconds by default.
            time_format: how times are written, as ``strptime`` has it (``"%m/%d/%Y"``), where the values do not
                prove it (:func:`mmgraph.data.times.times`).
            duplicates: what rows that repeat a (user, video) pair mean: ``error``, ``first`` | ``last`` (keep one),
                ``sum`` (add weights), ``keep`` (events).
            unicode: what two ids mean that are one name in two Unicode forms (``é`` as one sign or as two): an
                ``error``, two ids (``keep``), or one (``NFC``: all ids are brought into that form).
            user_features: [U, D] matrix, rows as in the users table.
            media: ``image`` | ``audio`` | ``video`` -> raw video id -> files.
            entities: name -> frame whose first two columns are raw video id and raw entity id.
            source, users_source, videos_source: what to call the tables in errors.

        Raises:
            DataError: missing column, unknown id, bad time, NaN, duplicates, feature rows that do not match: with
                file, line or row, column and the fix; more of them in its ``others``.
        """
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
            None
            if user is None
            else found.attempt(index_ids, frame[user], user_table, "user", user, src, usrc, unicode)
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
        return cls(
            name=name,
            user_ids=user_ids,
            video_ids=video_ids,
            interactions=table,
            users=user_table,
            videos=video_table,
            features=made,
            user_features=user_features,
            media={kind: media_rows(video_ids, files, unicode) for kind, files in (media or {}).items()},
            entities={key: entities_of(video_ids, pairs, unicode) for key, pairs in (entities or {}).items()},
            origin=Origin("", tuple(Path(s.file) for s in (src, usrc, vsrc) if s.file is not None), tuple(notes)),
        )

    def with_features(self, **features: Any) -> Dataset:
        """The same dataset with these modalities added or replaced; ``modality=None`` drops one.

        Each is a :class:`Features`, a [V, D] matrix in row order, or a pair (raw ids, [n, D] matrix).
        """
        merged = {**self.features}
        for modality, given in features.items():
            if given is None:
                merged.pop(modality, None)
            else:
                merged[modality] = features_of(modality, given, self.video_ids, known_order=True)
        return replace(self, features=merged)

    def where(self, keep: pl.Expr) -> Dataset:
        """The interactions for which the polars expression is true; users and videos stay as they are.

        Raises:
            DataError: none is left, or there is no such column.
            TypeError: no polars expression.
        """
        if not isinstance(keep, pl.Expr):
            raise TypeError(f"keep={keep!r}: give a polars expression, as in where(pl.col('like') > 0)")
        try:
            kept = self.interactions.filter(keep)
        except pl.exceptions.PolarsError as error:
            fix = f"use the columns {self.interactions.columns}"
            raise DataError(f"the filter {keep} does not fit: {first_line(error)}", fix=fix) from error
        if not len(kept):
            raise DataError(f"no interaction satisfies {keep}", fix="loosen the filter")
        return replace(self, interactions=kept)

    def k_core(self, k: int, *, users: int | None = None, videos: int | None = None) -> Dataset:
        """Drop users and videos with fewer than ``k`` interactions until all have that many, and re-index.

        Rows are factorised already, so each round is two bincounts over the rows that are left.

        Args:
            k: the bound for both sides; ``users`` and ``videos`` override it for one side (0: no bound).

        Raises:
            DataError: nothing is left.
            TypeError, ValueError: a bound that is no whole number from 0 on.
        """
        for what, bound in (("k", k), ("users", users), ("videos", videos)):
            check_count(bound, what, optional=what != "k")
        need_users, need_videos = k if users is None else users, k if videos is None else videos
        user, video = self.interactions["user"].to_numpy(), self.interactions["video"].to_numpy()
        of_user = np.bincount(user, minlength=self.num_users)
        of_video = np.bincount(video, minlength=self.num_videos)
        alive = np.ones(len(user), dtype=bool)
        low_user, low_video = of_user < need_users, of_video < need_videos
        while low_user.any() or low_video.any():
            # rows that leave now; few after the first round, so counts are lowered, not counted again
            gone = np.flatnonzero((low_user[user] | low_video[video]) & alive)
            alive[gone] = False
            of_user -= np.bincount(user[gone], minlength=self.num_users)
            of_video -= np.bincount(video[gone], minlength=self.num_videos)
            low_user, low_video = (of_user < need_users) & (of_user > 0), (of_video < need_videos) & (of_video > 0)
        if not alive.any():
            raise DataError(
                f"the core of {need_users} interactions a user and {need_videos} a video is empty",
                fix="use a smaller k",
            )
        users_left = np.flatnonzero(of_user >= need_users)
        videos_left = np.flatnonzero(of_video >= need_videos)
        table = self.interactions if alive.all() else self.interactions.filter(pl.Series(alive))
        return self._take(users_left, videos_left, table)

    def _take(self, users: NDArray[np.int64], videos: NDArray[np.int64], interactions: pl.DataFrame) -> Dataset:
        """Only these user and video rows; ``interactions`` still counts in the old rows, all of which are kept."""
        if len(users) == self.num_users and len(videos) == self.num_videos:
            return replace(self, interactions=interactions)
        new_user, new_video = np.full(self.num_users, -1), np.full(self.num_videos, -1)
        new_user[users], new_video[videos] = np.arange(len(users)), np.arange(len(videos))
        entities = {}
        for key, entity in self.entities.items():
            edge_video, edge_entity = entity.edges.numpy()
            keep = new_video[edge_video] >= 0
            left, rows = np.unique(edge_entity[keep], return_inverse=True)
            entities[key] = Entities(
                Vocabulary(entity.ids.ids.gather(left)), as_tensor(np.stack([new_video[edge_video[keep]], rows]))
            )
        return replace(
            self,
            user_ids=Vocabulary(self.user_ids.ids.gather(users)),
            video_ids=Vocabulary(self.video_ids.ids.gather(videos)),
            interactions=interactions.with_columns(
                user=pl.Series(new_user[interactions["user"].to_numpy()]),
                video=pl.Series(new_video[interactions["video"].to_numpy()]),
            ),
            users=self.users[users],
            videos=self.videos[videos],
            exposures=None if self.exposures is None else _kept(self.exposures, new_user, new_video),
            features={m: f.take(videos) for m, f in self.features.items()},
            user_features=None if self.user_features is None else self.user_features[torch.from_numpy(users)],
            media={kind: [files[v] for v in videos] for kind, files in self.media.items()},
            entities=entities,
        )

    def manifest(self) -> dict[str, str]:
        """Hashes of what the dataset is: ``users``, ``videos``, ``pairs``, where there are any ``exposures`` and
        ``user_features``, and one ``features/<modality>`` each.

        The order of the interaction rows does not matter; the row order of users and videos does. Features that know
        their :class:`Encoding` are hashed by it, others by their bits.
        """
        hashes = {
            "users": hash_ids(self.user_ids.ids),
            "videos": hash_ids(self.video_ids.ids),
            "pairs": hash_pairs(self.interactions, self.num_videos),
        }
        if self.exposures is not None:
            hashes["exposures"] = hash_table(self.exposures)
        if self.user_features is not None:
            hashes["user_features"] = digest(str(tuple(self.user_features.shape)).encode(), self.user_features.numpy())
        for modality in sorted(self.features):
            hashes[f"features/{modality}"] = self.features[modality].fingerprint()
        return hashes

    def fingerprint(self) -> str:
        """One hash of :meth:`manifest`: 16 hex digits."""
        parts = "\n".join(f"{key} {value}" for key, value in self.manifest().items())
        return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()


def _said(source: Source, note: str) -> str:
    """A note that names the file it is about."""
    return note if source.file is None else f"{Path(source.file).name}: {note}"


def _other_names(column: str) -> Iterator[str]:
    """``time_column``, ``time_column_2``, …: what a column is called whose name has another part to play."""
    yield f"{column}_column"
    yield from (f"{column}_column_{n}" for n in itertools.count(2))


def _kept(exposures: pl.DataFrame, new_user: NDArray[np.int64], new_video: NDArray[np.int64]) -> pl.DataFrame:
    """The exposures whose user and video are still there, in the new rows."""
    user, video = new_user[exposures["user"].to_numpy()], new_video[exposures["video"].to_numpy()]
    renamed = exposures.with_columns(user=pl.Series(user), video=pl.Series(video))
    return renamed.filter((pl.col("user") >= 0) & (pl.col("video") >= 0))


def _source(source: Source | str | Path | None) -> Source:
    return source if isinstance(source, Source) else Source(source)
