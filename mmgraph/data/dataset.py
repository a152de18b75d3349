"""What is known: who watched what and when, tables about users and videos, features, media."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from mmgraph.data.aligning import Unicode, features_of
from mmgraph.data.assembling import assembled
from mmgraph.data.attached import Encoding, Entities, Features
from mmgraph.data.checks import (
    Duplicates,
    check_count,
    check_exposures,
    first_line,
)
from mmgraph.data.errors import DataError, Origin, Source
from mmgraph.data.fingerprints import digest, hash_ids, hash_pairs, hash_table
from mmgraph.data.narrowing import core, taken
from mmgraph.data.times import TimeUnit
from mmgraph.data.vocabulary import Vocabulary

__all__ = ["Dataset", "Encoding", "Entities", "Features", "Vocabulary"]


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
        return cls(
            **assembled(
                interactions,
                users,
                videos,
                features,
                user=user,
                video=video,
                time=time,
                weight=weight,
                time_unit=time_unit,
                time_format=time_format,
                duplicates=duplicates,
                unicode=unicode,
                user_features=user_features,
                media=media,
                entities=entities,
                name=name,
                source=source,
                users_source=users_source,
                videos_source=videos_source,
            )
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
        kept = core(user, video, (self.num_users, self.num_videos), (need_users, need_videos))
        if not kept.alive.any():
            raise DataError(
                f"the core of {need_users} interactions a user and {need_videos} a video is empty",
                fix="use a smaller k",
            )
        table = self.interactions if kept.alive.all() else self.interactions.filter(pl.Series(kept.alive))
        return taken(self, kept.users, kept.videos, table)

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
