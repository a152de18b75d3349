"""What is known: who watched what and when, tables about users and videos, features, media."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.checks import (
    Duplicates,
    check_columns,
    check_count,
    check_exposures,
    check_word,
    finite_matrix,
    first_line,
    numbers,
    pair_keys,
    resolve_duplicates,
    to_polars,
)
from mmgraph.data.errors import DataError, Findings, Origin, Source
from mmgraph.data.times import TimeUnit, times
from mmgraph.data.vocabulary import Vocabulary, as_ids, as_tensor, one_spelling

__all__ = ["Dataset", "Encoding", "Entities", "Features", "Vocabulary"]

ID_COLUMNS = {
    "user": ("user_id", "user", "userId", "userID"),
    "video": ("video_id", "video", "item_id", "item", "movieId", "itemID"),
}
_NAMES = {**ID_COLUMNS, "time": ("timestamp", "time"), "weight": ("weight",)}
_PARTS = ("user", "video", "time", "weight")
# Names that the stores of a PyG graph keep for themselves.
_GRAPH_NAMES = ("edge_index", "edge_attr", "edge_label", "num_edges", "num_nodes", "adj", "adj_t")
Unicode = Literal["error", "keep", "NFC"]


@dataclass(frozen=True, eq=False)
class Encoding:
    """Which frozen encoder made feature rows, out of which media: what they are, wherever they were computed.

    Another number of threads, another machine or library changes the last bits of a feature and nothing of this.

    Args:
        encoder: the encoder's key (name, version, weights, settings) and how its rows were pooled.
        media: [V, 16] uint8, a hash of each row's media; 0 where a video has none.

    Raises:
        DataError: ``media`` of another shape or type.
    """

    encoder: str
    media: Tensor

    def __post_init__(self) -> None:
        if self.media.dtype != torch.uint8 or self.media.dim() != 2 or self.media.shape[1] != 16:
            raise DataError(
                f"media hashes of {self.media.dtype} {tuple(self.media.shape)}",
                fix="give uint8 [V, 16], 16 bytes a row",
            )


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """The features of one modality, one row a video.

    Args:
        values: [V, D] float32. Rows that are absent are set to zero.
        present: [V] bool: which videos have this modality. All, when not given.

    Attributes:
        encoding: who made the rows out of what, where :meth:`encoded` was told; None for any other matrix. It does not
            survive a change of the values.

    Raises:
        DataError: ``values`` is no matrix, or a present row holds NaN or infinity.
    """

    values: Tensor
    present: Tensor = None  # type: ignore[assignment]
    encoding: Encoding | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        present = self.present
        if isinstance(self.values, str) or not hasattr(self.values, "__len__"):
            raise DataError(f"features must be a matrix [V, D], got {self.values!r}", fix="give a tensor")
        present = torch.ones(len(self.values), dtype=torch.bool) if present is None else torch.as_tensor(present)
        if present.dtype.is_floating_point or present.dtype.is_complex:
            raise DataError(f"present is {present.dtype}, a mask of flags is bool", fix="give one bool for each row")
        if present.dtype != torch.bool and not bool(((present == 0) | (present == 1)).all()):
            raise DataError("present holds other values than 0 and 1", fix="give one bool for each row")
        present = present.to(torch.bool)
        if present.shape != (len(self.values),):
            raise DataError(
                f"present is {list(present.shape)} beside values {list(self.values.shape)}",
                fix="give one bool for each row of the features",
            )
        values = torch.as_tensor(self.values)
        if not bool(present.all()) and bool((values[~present] != 0).any()):  # NaN != 0 as well
            values = values.masked_fill(~present[:, None], 0)
        object.__setattr__(self, "values", finite_matrix(values, "features"))
        object.__setattr__(self, "present", present)

    def __repr__(self) -> str:
        rows, width = self.values.shape
        return f"Features({rows} x {width}, {int(self.present.sum())} present)"

    @classmethod
    def of(cls, values: Any, present: Any = None) -> Features:
        """Features from any matrix of numbers [V, D] (float16 is cast to float32) and an optional mask [V]."""
        values = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
        return cls(values, None if present is None else torch.as_tensor(np.asarray(present)))  # type: ignore[arg-type]

    @classmethod
    def encoded(cls, values: Tensor, present: Tensor, encoding: Encoding) -> Features:
        """Features as an encoder made them, identified by encoder and media rather than by their bits.

        Raises:
            DataError: as the class; or media hashes of another number of rows.
        """
        out = cls(values, present)
        if len(encoding.media) != len(out.values):
            raise DataError(
                f"{len(out.values)} feature rows, {len(encoding.media)} media hashes", fix="give one hash for each row"
            )
        object.__setattr__(out, "encoding", encoding)
        return out

    @property
    def dim(self) -> int:
        """Width D."""
        return self.values.shape[1]

    def fingerprint(self) -> str:
        """What these features are, 32 hex digits: encoder, media and mask where they are known, else every bit."""
        shape, present = str(tuple(self.values.shape)).encode(), self.present.numpy()
        if self.encoding is None:
            return _hash(shape, self.values.numpy(), present)
        return _hash(shape, b"encoded", self.encoding.encoder.encode(), self.encoding.media.numpy(), present)

    def take(self, rows: NDArray[np.int64] | Tensor) -> Features:
        """The features of these video rows [n], in this order."""
        index = torch.as_tensor(rows)
        if index.dtype.is_floating_point or index.dtype == torch.bool:
            raise TypeError(f"rows of type {index.dtype}: give whole numbers from 0 on")
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= len(self.values)):
            bad = int(index.min()) if int(index.min()) < 0 else int(index.max())
            raise IndexError(f"row {bad} is outside the {len(self.values)} rows")
        values, present = self.values[index], self.present[index]
        if self.encoding is None:
            return Features(values, present)
        return Features.encoded(values, present, Encoding(self.encoding.encoder, self.encoding.media[index]))

    def spread(self, rows: Tensor, count: int) -> Features:
        """The same rows at other places among ``count`` videos, which else have none: row i goes to ``rows[i]``."""
        values = self.values.new_zeros(count, self.dim)
        present = torch.zeros(count, dtype=torch.bool)
        values[rows], present[rows] = self.values, self.present
        if self.encoding is None:
            return Features(values, present)
        media = self.encoding.media.new_zeros(count, 16)
        media[rows] = self.encoding.media
        return Features.encoded(values, present, Encoding(self.encoding.encoder, media))

    @classmethod
    def aligned(
        cls, videos: Vocabulary, ids: Sequence[Any] | pl.Series | NDArray, values: Any, source: Source | None = None
    ) -> Features:
        """Features given for some raw ids only: the other videos have none.

        Args:
            ids: raw video ids [n], each once; values: [n, D].

        Raises:
            DataError: an unknown or repeated id, or row counts that differ.
        """
        source = source or Source()
        matrix = finite_matrix(values, "features", source)
        given = Vocabulary(ids, source)
        if len(given) != len(matrix):
            raise source.error(f"{len(given)} ids but {len(matrix)} feature rows", fix="give one row for each id")
        rows = as_tensor(videos.rows(given.ids, source=source))
        full = torch.zeros(len(videos), matrix.shape[1])
        present = torch.zeros(len(videos), dtype=torch.bool)
        full[rows], present[rows] = matrix, True
        return cls(full, present)


@dataclass(frozen=True, eq=False)
class Entities:
    """Things that videos share: tags, categories, creators.

    Args:
        ids: raw id <-> row of the entity.
        edges: [2, E] int64: video row, entity row.
    """

    ids: Vocabulary
    edges: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_pairs(
        cls, videos: Vocabulary, video_ids: pl.Series, entity_ids: pl.Series, source: Source | None = None
    ) -> Entities:
        """Entities from (raw video id, raw entity id) pairs; a pair given twice is one edge."""
        rows = videos.rows(video_ids, source=source or Source())
        ids, entity = Vocabulary.factorise(entity_ids, source or Source())
        pairs = np.unique(np.stack([rows, entity]), axis=1) if len(rows) else np.zeros((2, 0), dtype=np.int64)
        return cls(ids, as_tensor(pairs))


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
        user = found.attempt(_required, frame, "user", user, src)
        video = found.attempt(_required, frame, "video", video, src)
        time = found.attempt(_resolve, frame, "time", time, src)
        weight = found.attempt(_resolve, frame, "weight", weight, src)
        of_user = (
            None if user is None else found.attempt(_index, frame[user], user_table, "user", user, src, usrc, unicode)
        )
        of_video = (
            None
            if video is None
            else found.attempt(_index, frame[video], video_table, "video", video, src, vsrc, unicode)
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
            made[modality] = _features(modality, given, video_ids, known_order=order, unicode=unicode)
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
            entities={key: _entities(video_ids, pairs, unicode) for key, pairs in (entities or {}).items()},
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
                merged[modality] = _features(modality, given, self.video_ids, known_order=True)
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
            hashes["user_features"] = _hash(str(tuple(self.user_features.shape)).encode(), self.user_features.numpy())
        for modality in sorted(self.features):
            hashes[f"features/{modality}"] = self.features[modality].fingerprint()
        return hashes

    def fingerprint(self) -> str:
        """One hash of :meth:`manifest`: 16 hex digits."""
        parts = "\n".join(f"{key} {value}" for key, value in self.manifest().items())
        return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()


def hash_ids(ids: pl.Series) -> str:
    """Hash of raw ids in row order; integers and their decimal text differ."""
    if ids.dtype == pl.Int64:
        return _hash(b"int", ids.to_numpy())
    text = ids.cast(pl.String)
    return _hash(b"text", text.str.len_bytes().to_numpy(), "".join(text.to_list()).encode())


def hash_pairs(frame: pl.DataFrame, num_videos: int) -> str:
    """Hash of the multiset of (user, video) rows."""
    return _hash(str(num_videos).encode(), np.sort(pair_keys(frame, num_videos)))


def hash_table(table: pl.DataFrame) -> str:
    """Hash of a table's rows, whatever their order and that of the columns."""
    columns = sorted(table.columns)
    ordered = table.select(columns).sort(columns)
    parts: list[bytes | NDArray] = [f"{columns} {len(table)}".encode()]
    for column in ordered:
        known = column.is_not_null().to_numpy()
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            parts += [known, column.cast(pl.Float64).fill_null(0.0).to_numpy()]
        else:
            text = column.cast(pl.String).fill_null("")
            parts += [known, text.str.len_bytes().to_numpy(), "".join(text.to_list()).encode()]
    return _hash(*parts)


def _hash(*parts: bytes | NDArray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return digest.hexdigest()


def media_rows(videos: Vocabulary, files: Mapping[Any, Sequence[Path]], unicode: Unicode = "error") -> list[list[Path]]:
    """The sorted files of each video row, from files by raw id. An unknown id is a DataError."""
    rows: list[list[Path]] = [[] for _ in range(len(videos))]
    raw = list(files)
    for key, row in zip(raw, videos.rows(_spelled(as_ids(raw), unicode)).tolist() if raw else []):
        rows[row] = sorted([*rows[row], *(Path(p) for p in files[key])])
    return rows


def _said(source: Source, note: str) -> str:
    """A note that names the file it is about."""
    return note if source.file is None else f"{Path(source.file).name}: {note}"


def _other_names(column: str) -> Iterator[str]:
    """``time_column``, ``time_column_2``, …: what a column is called whose name has another part to play."""
    yield f"{column}_column"
    yield from (f"{column}_column_{n}" for n in itertools.count(2))


def _spelled(ids: pl.Series, unicode: Unicode) -> pl.Series:
    """Text ids in the form that was asked for."""
    return ids.str.normalize("NFC") if unicode == "NFC" and ids.dtype == pl.String else ids


def _kept(exposures: pl.DataFrame, new_user: NDArray[np.int64], new_video: NDArray[np.int64]) -> pl.DataFrame:
    """The exposures whose user and video are still there, in the new rows."""
    user, video = new_user[exposures["user"].to_numpy()], new_video[exposures["video"].to_numpy()]
    renamed = exposures.with_columns(user=pl.Series(user), video=pl.Series(video))
    return renamed.filter((pl.col("user") >= 0) & (pl.col("video") >= 0))


def _source(source: Source | str | Path | None) -> Source:
    return source if isinstance(source, Source) else Source(source)


def _resolve(frame: pl.DataFrame, part: str, given: str | None, source: Source) -> str | None:
    """The column that plays a part: the given one, which must exist, or the first usual name that does."""
    if given is not None:
        check_columns(frame, [given], source)
        return given
    return next((name for name in _NAMES[part] if name in frame.columns), None)


def _required(frame: pl.DataFrame, part: str, given: str | None, source: Source) -> str:
    found = _resolve(frame, part, given, source)
    if found is None:
        check_columns(frame, [_NAMES[part][0]], source)
    return found or ""


def _index(
    ids: pl.Series,
    table: pl.DataFrame | None,
    part: str,
    column: str,
    source: Source,
    table_source: Source,
    unicode: Unicode = "keep",
) -> tuple[Vocabulary, NDArray[np.int64], pl.DataFrame]:
    """Vocabulary, the rows of ``ids`` and the table aligned with it, its first column the raw id."""
    key = f"{part}_id"
    ids = _spelled(as_ids(ids, source), unicode)
    if table is None:
        vocabulary, rows = Vocabulary.factorise(ids, source)
        if unicode == "error":
            one_spelling(vocabulary.ids, Source(source.file), column)
        return vocabulary, rows, pl.DataFrame([vocabulary.ids.alias(key)])
    id_column = column if column in table.columns else _required(table, part, None, table_source)
    listed = table[id_column]
    listed = listed.str.normalize("NFC") if unicode == "NFC" and listed.dtype == pl.String else listed
    found = Findings()
    vocabulary = found.attempt(Vocabulary, listed, table_source)
    known = vocabulary
    if vocabulary is None and (listed.dtype == pl.String or listed.dtype.is_integer()):
        # a table that repeats an id, or lacks one, still tells which ids of the interactions are unknown
        known = Vocabulary(listed.drop_nulls().unique())
    if vocabulary is not None and unicode == "error":
        found.attempt(one_spelling, vocabulary.ids, table_source, id_column)
    rows = None if known is None else found.attempt(known.rows, ids, source=source, column=column)
    if found or vocabulary is None or rows is None:
        raise found.error()
    rest = [c for c in table.columns if c != id_column]
    if key in rest:
        problem = f"the ids are in {id_column!r}, and {key!r} is another column"
        raise table_source.error(problem, column=key, fix="rename one of them")
    return vocabulary, rows, table.select(vocabulary.ids.alias(key), *[table[c] for c in rest])


def _features(
    modality: str, given: Any, videos: Vocabulary, *, known_order: bool, unicode: Unicode = "keep"
) -> Features:
    source = Source(f"features[{modality!r}]")
    if isinstance(given, tuple) and len(given) == 2:
        return Features.aligned(videos, _spelled(as_ids(given[0], source), unicode), given[1], source)
    if not known_order:
        raise source.error(
            "a matrix without a videos table has no row order", fix="pass videos=, or a pair (raw ids, matrix)"
        )
    return given if isinstance(given, Features) else Features(finite_matrix(given, "features", source))


def _entities(videos: Vocabulary, pairs: Any, unicode: Unicode = "keep") -> Entities:
    if isinstance(pairs, Entities):
        return pairs
    frame = to_polars(pairs)
    ids = _spelled(as_ids(frame[frame.columns[0]]), unicode)
    return Entities.from_pairs(videos, ids, frame[frame.columns[1]])
