"""What a server knows: a bundle, and everything that the log said since."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mmgraph.bundle import Bundle
from mmgraph.bundle.bundle import DELETED, HIDDEN, NAMELESS, ROWLESS
from mmgraph.bundle.towers import ridge_row
from mmgraph.constraint import Blocked, Constraint
from mmgraph.data.files import write_atomically
from mmgraph.ops import TopK
from mmgraph.serve.index import Index, Lists, as_lists
from mmgraph.serve.log import Entry, Event, EventLog

POSITIVE = ("click", "finish", "like")
_GATHER = 256  # new videos embedded in one pass
_DIGEST = 16
_PUBLISHED = 2000
_LONGEST = 1e12  # norm of a row beyond which products with it mean nothing
_REBASE = 256.0  # half-lives


class Met(NamedTuple):
    """One event of a user: the video's row, when, and what it was."""

    video: int
    time: float
    kind: str


T = TypeVar("T")
Rules = Callable[[Constraint, "State"], Constraint]


class StateError(ValueError):
    """A snapshot that does not belong to this bundle and log, or is damaged: fold the log anew."""


def pack(values: Sequence[float] | NDArray | Tensor) -> str:
    """Features as the log keeps them: base64 of float32, little-endian."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def unpack(text: str) -> NDArray[np.float32]:
    """From :func:`pack`; empty for what is no such text."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    except ValueError:
        return np.empty(0, np.float32)


class State:
    """A fold over the log: the same bundle and the same entries give the same state, whoever folds them.

    One thread at a time. What an entry does:

    - ``click`` | ``finish`` | ``like`` | ``skip``: the video is seen by the user; all but a skip are clicks, which move
      the user's row and count for popularity, halved every ``half_life`` by the time of the event, so that late ones
      count with what is left of them. A user or video that is not known becomes known; the video has no row until it is
      described, and is not shown until then.
    - ``video``: describes a video: columns, and features that give it a row by the bundle's cold tower. A video that
      was trained on keeps its row. A deleted one is back.
    - ``features``: what an encoder made of a medium of a video, beside the features that it has.
    - ``hide``, ``show``, ``delete``: a hidden or deleted video is in no answer; the set of them has a version.

    Four sets of rows are not ranked, and all but the last are in no answer at all: ``hidden``, ``deleted``,
    ``nameless`` (events named them, nobody described them yet) and ``rowless`` (described, but the bundle makes no row
    of what they brought: popular only).

    Args:
        bundle: what it starts from.
        rules: what an operator adds to the constraint: given it and the state, the whole one. No part of the fold.
    """

    def __init__(self, bundle: Bundle, rules: Rules | None = None) -> None:
        self.bundle, self.rules, self._ruled_at = bundle, rules, 0
        self.users, self.videos = bundle.users.copy(), bundle.videos.copy()
        self.linear = bundle.user is None
        self.trained = len(bundle.videos)
        self.index = Index(bundle.video.new_zeros(self.trained, 0) if self.linear else bundle.video)
        self.seq = bundle.manifest.log.seq
        self.hidden, self.deleted, self.nameless, self.rowless = (
            set(torch.nonzero(bundle.gate & bit).flatten().tolist()) for bit in (HIDDEN, DELETED, NAMELESS, ROWLESS)
        )
        self._out = self.hidden | self.deleted | self.nameless  # rows that nobody may get now
        self._constraint: Constraint | None = None
        self._unmade = self.nameless | self.rowless  # in the bundle, but without a row of its own
        self.blocked_version = 0
        self.columns: dict[int, dict[str, Any]] = {}
        """Columns of videos that the log described."""
        self.columns_version = 0
        self.titled = "title" in bundle.columns.columns
        """Whether any video may have a title."""
        self.features: dict[int, dict[str, str]] = {}
        self.met: dict[int, list[Met]] = {}
        self.popularity = bundle.popularity.numpy().copy()
        self.popularity_at = bundle.manifest.popularity_at
        self.interactions = 0
        self.unreadable = 0
        """Entries that are no events of ours; they change nothing else."""
        self.profiles: dict[int, Tensor] = {}
        self._known = b"" if bundle.user is None else bundle.user.any(dim=1).numpy().tobytes()
        """A byte for each trained user: 0 where their row is, for nothing was known of them."""
        self.dirty: set[int] = set()
        """Users whose row is older than their last click."""
        self._pending: list[int] = []
        self._remembered: dict[str, tuple[tuple[int, int], Any]] = {}
        fold = bundle.manifest.fold_in
        self._base: Tensor | None = None
        if bundle.gram is not None:
            self._base = fold.background * bundle.gram + fold.reg * torch.eye(len(bundle.gram))
        for row in torch.nonzero(bundle.gate).flatten().tolist():
            self.index.hide(row)
        self.published = np.empty(0, np.int64)
        self.published_at = self.popularity_at
        self.publish(self.popularity_at)

    def warm(self) -> None:
        """Reads the towers that new videos and clicks will need, so that the first of them does not wait."""
        bundle = self.bundle
        user = bundle.tower if bundle.manifest.fold_in.method == "tower" else None
        for tower in (bundle.cold, user, bundle.pair and bundle.pair.tower):
            if tower is not None:
                tower.load()

    # -- folding -----------------------------------------------------------------------------------

    def catch_up(self, log: EventLog, limit: int | None = None) -> int:
        """Folds what the log holds beyond ``seq``, ``limit`` entries at most; how many they were."""
        count = 0
        while limit is None or count < limit:
            entries = log.read(self.seq, 1000 if limit is None else min(1000, limit - count))
            if not entries:
                break
            self.fold(entries)
            count += len(entries)
        return count

    def fold(self, entries: Iterable[Entry]) -> None:
        """Folds entries, in order; those at or below ``seq`` are passed over."""
        for entry in entries:
            if entry.seq <= self.seq:
                continue
            try:
                self.apply(entry.event)
            except (KeyError, TypeError, ValueError, AttributeError):  # written past the server, by whatever
                self.unreadable += 1
            self.seq = entry.seq
        self._embed_pending()

    def apply(self, event: Event) -> None:
        """What one event does; rows of new videos wait until :meth:`fold` embeds them together."""
        kind, data = event.kind, event.data
        if kind == "video":
            self._describe(str(data["video"]), data)
        elif kind == "features":
            self._add_features(str(data["video"]), data)
        elif kind in ("hide", "show", "delete"):
            row = self._video(str(data["video"]))
            if kind == "show":
                self.hidden.discard(row)
            else:
                (self.hidden if kind == "hide" else self.deleted).add(row)
            self._gate(row)
        elif kind in (*POSITIVE, "skip"):
            self._meet(self.users.add(str(data["user"])), self._video(str(data["video"])), event)

    def _meet(self, user: int, video: int, event: Event) -> None:
        self.met.setdefault(user, []).append(Met(video, event.time, event.kind))
        self.interactions += 1
        if event.kind in POSITIVE:
            half_life = self.bundle.manifest.half_life
            age = (event.time - self.popularity_at) / half_life
            if age > _REBASE:  # the weights grow with time: count in a later moment's before they are too large
                self.popularity *= 2.0 ** -float(int(age))
                self.popularity_at += int(age) * half_life
                age -= int(age)
            self.popularity[video] += 2.0**age
            self.dirty.add(user)

    def _video(self, raw: str) -> int:
        row = self.videos.find(raw)
        if row < 0:
            row = self.videos.add(raw)
            self._grow(row)
            self.nameless.add(row)
            self._gate(row)
        return row

    def _grow(self, row: int) -> None:
        self.index.append(torch.zeros(1, self.index.rows.shape[1]))
        if row >= len(self.popularity):
            more = np.zeros(max(1024, row // 8))
            self.popularity = np.concatenate([self.popularity, more])

    def _describe(self, raw: str, data: Mapping[str, Any]) -> None:
        # everything is read before anything changes: an entry that is no description leaves nothing half done
        columns = None if data.get("columns") is None else dict(data["columns"])
        features = {str(name): str(values) for name, values in dict(data.get("features") or {}).items()}
        row = self._video(raw)
        self.nameless.discard(row)
        self.deleted.discard(row)
        if columns is not None:
            self.columns[row] = columns
            self.columns_version += 1
            self.titled = self.titled or "title" in columns
        if row >= self.trained or row in self._unmade:
            if features:
                self.features[row] = features
                self._pending.append(row)
            elif row not in self.features:
                self.rowless.add(row)
        self._gate(row)

    def _add_features(self, raw: str, data: Mapping[str, Any]) -> None:
        features = {str(name): str(values) for name, values in dict(data["features"]).items()}
        row = self._video(raw)
        if row >= self.trained or row in self._unmade:
            self.features[row] = {**self.features.get(row, {}), **features}
            self._pending.append(row)

    def _gate(self, row: int) -> None:
        """Puts the index in line with what is known of a row."""
        self.blocked_version += 1
        barred = row in self.hidden or row in self.deleted or row in self.nameless
        (self._out.add if barred else self._out.discard)(row)
        if barred or row in self.rowless:
            self.index.hide(row)
        else:
            self.index.show(row)

    def gated(self) -> set[int]:
        """Every row that is not ranked."""
        return self.hidden | self.deleted | self.nameless | self.rowless

    @property
    def constraint(self) -> Constraint:
        """What may be shown now: one value that the index, the lists, the popular list and the reasons are held to.

        Blocked is what is hidden, deleted or nameless, as a versioned set; the operator's rules and quotas are added. A
        frozen value, made anew when something it depends on has changed.
        """
        known = self._constraint
        if (
            known is None
            or (known.blocked.version, known.num_videos) != (self.blocked_version, len(self.index))
            or (self.rules is not None and self._ruled_at != self.columns_version)
        ):
            known = Constraint(len(self.index), blocked=Blocked(frozenset(self._out), self.blocked_version))
            if self.rules is not None:
                self._ruled_at = self.columns_version
                known = self.rules(known, self)
            self._constraint = known
        return known

    def barred(self, row: int) -> bool:
        """Whether nobody may get this video now; what is no video is barred."""
        return not self.constraint.opens([row])[0]

    def _embed_pending(self) -> None:
        """Rows of the videos that were described since; those the bundle has no way for become ``rowless``."""
        rows = list(dict.fromkeys(self._pending))
        for start in range(0, len(rows), _GATHER):
            some = rows[start : start + _GATHER]
            values, good = self._embed([self.features[row] for row in some])
            for row, value, fits in zip(some, values, good, strict=True):
                (self.rowless.discard if fits else self.rowless.add)(row)
                if fits:
                    self.index.replace(row, value)
                self._gate(row)
        self._pending.clear()

    def _embed(self, described: Sequence[Mapping[str, str]]) -> tuple[Tensor, list[bool]]:
        """Rows [n, D] of features as the log keeps them, and which of them the tower could read."""
        cold, modalities = self.bundle.cold, self.bundle.manifest.modalities
        blank = torch.zeros(len(described), self.index.rows.shape[1])
        if cold is None:
            return blank, [False] * len(described)
        inputs: list[Tensor] = []
        any_present = torch.zeros(len(described), dtype=torch.bool)
        for name, modality in modalities.items():
            values = torch.zeros(len(described), modality.dim)
            present = torch.zeros(len(described), dtype=torch.bool)
            for at, features in enumerate(described):
                if name in features:
                    found = unpack(features[name])
                    if len(found) == modality.dim and np.isfinite(found).all():
                        values[at], present[at] = torch.from_numpy(found.copy()), True
            inputs += [values, present]
            any_present |= present
        rows = cold(*inputs)
        good = any_present & (torch.linalg.vector_norm(rows, dim=1) < _LONGEST)  # NaN is not below it either
        return rows, good.tolist()

    # -- asking ------------------------------------------------------------------------------------

    def seen(self, user: int) -> NDArray[np.int64]:
        """Rows of everything a user met."""
        before = self.bundle.history.videos(user).astype(np.int64)
        since = self.met.get(user)
        return before if since is None else np.concatenate([before, [m.video for m in since]])

    def history(self, user: int) -> list[Met]:
        """A user's clicks in order of time, those of the bundle first where times are equal."""
        videos, times = self.bundle.history.of(user)
        past = [Met(int(v), float(t), "click") for v, t in zip(videos, times, strict=True)]
        return sorted(past + self.clicks(user), key=lambda met: met.time)

    def clicks(self, user: int) -> list[Met]:
        """What a user clicked since the bundle, in order of the log."""
        return [met for met in self.met.get(user, ()) if met.kind in POSITIVE]

    def profile(self, user: int) -> Tensor | None:
        """A user's row [D] with all clicks so far in it, scores [V] for a linear model; None where nothing is known."""
        if user not in self.dirty:
            known = self.profiles.get(user)
            if known is not None:
                return known
            if self.bundle.user is not None and user < len(self._known):
                return self.bundle.user[user] if self._known[user] else None
        row = self._fold_in(user)
        self.dirty.discard(user)
        if row is not None:
            self.profiles[user] = row
        return row

    def refresh_profiles(self, limit: int) -> int:
        """Brings up to ``limit`` rows that are behind up to date; how many are behind still."""
        for user in list(self.dirty)[:limit]:
            self.profile(user)
        return len(self.dirty)

    def _fold_in(self, user: int) -> Tensor | None:
        fold = self.bundle.manifest.fold_in
        if self.linear or (fold.method == "tower" and not fold.around):
            return self.of_history(self.history(user))
        if fold.method == "tower":
            return self._moved(user)
        prior = None
        if self.bundle.user is not None and user < len(self.bundle.user):
            prior = self.bundle.user[user]
        return self.of_history(self.clicks(user), prior)

    def _moved(self, user: int) -> Tensor | None:
        """A trained row, moved by what an approximate tower says of the clicks since; its own word for a new user."""
        now = self.of_history(self.history(user))
        if self.bundle.user is None or user >= len(self.bundle.user) or now is None:
            return now
        videos, times = self.bundle.history.of(user)
        before = self.of_history([Met(int(v), float(t), "click") for v, t in zip(videos, times, strict=True)])
        return now if before is None else self.bundle.user[user] + now - before

    @torch.no_grad()
    def of_history(self, history: Sequence[Met], prior: Tensor | None = None) -> Tensor | None:
        """The row of a user of this history, oldest first; None where it says nothing."""
        usable = [met for met in history if met.video not in self.nameless and met.video not in self.rowless]
        if self.linear:
            mine = sorted({met.video for met in usable if met.video < self.trained})
            if not mine:
                return None
            scores = torch.full((len(self.index),), -torch.inf)
            scores[: self.trained] = self.bundle.video[mine].sum(0)
            return scores
        if not usable:
            return prior
        fold = self.bundle.manifest.fold_in
        if fold.method == "tower":
            assert self.bundle.tower is not None
            last = usable[-fold.steps :]
            rows = self.index.rows[[met.video for met in last]].unsqueeze(0)
            times = torch.tensor([[met.time for met in last]], dtype=torch.float64)
            return self.bundle.tower(rows, torch.ones(1, len(last), dtype=torch.bool), times)[0].clone()
        assert self._base is not None
        rows = self.index.rows[sorted({met.video for met in usable})]
        return ridge_row(self._base, rows, prior)

    def search(
        self,
        queries: Sequence[Tensor],
        k: int,
        exclude: Sequence[NDArray[np.int64]] = (),
        allowed: Tensor | None = None,
        users: Sequence[int] = (),
    ) -> Lists:
        """The k best for each of some rows that :meth:`profile` or :meth:`of_history` gave, under the constraint.

        Args:
            queries: the rows.
            k: how many.
            exclude: what each may not get, as they have seen it.
            allowed: [V] bool, a filter.
            users: whose rows they are, -1 for nobody's; asked where the constraint has rules for each user.
        """
        constraint = self.constraint
        if constraint.per_user:
            mine = constraint.mask(nobody_as_stranger(users or [-1] * len(queries)))
            allowed = mine if allowed is None else mine & allowed
        if not self.linear and not constraint.quotas:
            return self.index.search(torch.stack(list(queries)), k, exclude, allowed)

        def best(columns: Tensor | None, n: int) -> TopK:
            both = allowed if columns is None else columns if allowed is None else columns & allowed
            if not self.linear:
                return self.index.top(torch.stack(list(queries)), n, exclude, both)
            scores = torch.full((len(queries), len(self.index)), -torch.inf)
            for line, row in enumerate(queries):
                scores[line, : len(row)] = row
            return self.index.best(scores, n, exclude, both)

        return as_lists(shortened(constraint, k).fill(k, best))

    def scores(self, query: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Scores [n] of a row of :meth:`profile` for some videos; -inf for what may not be shown."""
        at = torch.from_numpy(rows)
        if self.linear:
            padded = torch.cat([query, query.new_full((len(self.index) - len(query),), -torch.inf)])
            return padded[at].masked_fill(self.index.hidden[at], -torch.inf)
        return (self.index.rows[at] @ query).masked_fill(self.index.hidden[at], -torch.inf)

    def similar(self, video: int, k: int, allowed: Tensor | None = None) -> list[tuple[int, float]]:
        """The k videos whose rows have the highest cosine with this one's: pairs of row and cosine."""
        if self.linear:
            weight = torch.full((1, len(self.index)), -torch.inf)
            if video < self.trained:
                weight[0, : self.trained] = self.bundle.video[video]
            return as_lists(self.index.best(weight, k, [np.array([video])], allowed))[0]
        rows = self.index.rows
        norms = torch.linalg.vector_norm(rows, dim=1).clamp_min_(1e-12)
        scores = torch.mv(rows, rows[video] / norms[video]).div_(norms)
        return as_lists(self.index.best(scores[None], k, [np.array([video])], allowed))[0]

    def publish(self, now: float) -> None:
        """Ranks by popularity anew: what :meth:`popular` reads until the next time.

        Args:
            now: UTC seconds, kept as ``published_at``.
        """
        self.published = self._most_popular(_PUBLISHED, np.empty(0, np.int64), None)
        self.published_at = now

    def popular(self, k: int, exclude: NDArray[np.int64], allowed: Tensor | None = None) -> NDArray[np.int64]:
        """Rows of the k most popular videos that may be shown, best first, by the ranking last published.

        Where too few of its 2,000 are left, by the popularity of now. What is hidden since is left out in any case.
        """
        rows = self.published
        keep = ~np.isin(rows, exclude)
        if allowed is not None:
            keep &= allowed.numpy()[rows]
        found = [row for row in rows[keep].tolist() if not self.barred(row)]
        if len(found) >= k:
            return np.array(found[:k], np.int64)
        return self._most_popular(k, exclude, allowed)

    def _most_popular(self, k: int, exclude: NDArray[np.int64], allowed: Tensor | None) -> NDArray[np.int64]:
        size = len(self.index)
        weight = self.popularity[:size].copy()
        weight[~self.constraint.columns.numpy()] = -1.0
        weight[exclude] = -1.0
        if allowed is not None:
            weight[~allowed.numpy()] = -1.0
        k = min(k, size)
        if not k:
            return np.empty(0, np.int64)
        bound = np.partition(weight, size - k)[size - k]
        above = np.flatnonzero(weight > max(bound, -0.5))
        above = above[np.argsort(-weight[above], kind="stable")]
        # among equals at the edge of the list the earlier rows
        edge = np.flatnonzero(weight == bound)[: k - len(above)] if bound >= 0 else np.empty(0, np.int64)
        return np.concatenate([above, edge]).astype(np.int64)

    def column(self, row: int, name: str) -> Any:
        """A column of a video, None where it has none."""
        described = self.columns.get(row)
        if described is not None and (name in described or row >= self.trained):
            return described.get(name)
        if row < self.trained and name in self.bundle.columns.columns:
            value = self.bundle.columns[name][row]
            return value.to_list() if isinstance(value, pl.Series) else value
        return None

    def fits(self, row: int, wanted: Mapping[str, Sequence[str]]) -> bool:
        """Whether one video has one of the values in every column named."""
        for name, values in wanted.items():
            value = self.column(row, name)
            if not set(value if isinstance(value, list) else [value]) & set(values):
                return False
        return True

    def shared(self, one: int, two: int) -> dict[str, list[str]]:
        """Column -> what both videos have of it, for columns of several values, such as tags."""
        out = {}
        for name in self.filterable():
            mine, theirs = self.column(one, name), self.column(two, name)
            if isinstance(mine, list) and isinstance(theirs, list) and (both := sorted(set(mine) & set(theirs))):
                out[name] = both
        return out

    def likeness(self, row: int, others: Sequence[int]) -> Tensor:
        """How like a video is to others, [n]: cosine of their rows; linear: what a click on each adds to its score."""
        if self.linear:
            return self.bundle.video[list(others), row]
        vectors = torch.nn.functional.normalize(self.index.rows[list(others)], dim=1)
        return vectors @ torch.nn.functional.normalize(self.index.rows[row], dim=0)

    def filterable(self) -> list[str]:
        """The names that :meth:`allowed` takes."""
        described = {name for columns in self.columns.values() for name in columns}
        return sorted((set(self.bundle.columns.columns) | described) - {"id"})

    def allowed(self, wanted: Mapping[str, Sequence[str]]) -> Tensor | None:
        """[V] bool: the videos that have one of the values in every column named; None for no filter.

        Raises:
            KeyError: no video has such a column.
        """
        if not wanted:
            return None
        key = json.dumps({name: sorted(values) for name, values in wanted.items()}, sort_keys=True)
        return self.remembered(key, lambda: self._mask(wanted))

    def remembered(self, key: str, make: Callable[[], T]) -> T:
        """What depends on the videos' columns alone; made anew once these have changed. 64 such things are kept."""
        version = (self.columns_version, len(self.index))
        hit = self._remembered.get(key)
        if hit is not None and hit[0] == version:
            return hit[1]
        found = make()
        if len(self._remembered) >= 64:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[key] = (version, found)
        return found

    def _mask(self, wanted: Mapping[str, Sequence[str]]) -> Tensor:
        mask = np.ones(len(self.index), dtype=bool)
        for name, values in wanted.items():
            if name == "id" or name not in self.bundle.columns.columns:
                if not any(name in columns for columns in self.columns.values()):
                    raise KeyError(name)
                mine = np.zeros(len(self.index), dtype=bool)
            else:
                mine = np.zeros(len(self.index), dtype=bool)
                mine[: self.trained] = _has(self.bundle.columns[name], values)
            for row, columns in self.columns.items():
                if name in columns or row >= self.trained:
                    value = columns.get(name)
                    mine[row] = bool(set(value if isinstance(value, list) else [value]) & set(values))
            mask &= mine
        return torch.from_numpy(mask)

    # -- keeping -----------------------------------------------------------------------------------

    def hash(self) -> str:
        """32 hex digits over all that the log has done to the bundle. Equal for the same bundle and entries."""
        digest = hashlib.blake2b(digest_size=_DIGEST)
        for part in self._parts():
            digest.update(json.dumps(part, sort_keys=True, separators=(",", ":")).encode())
        digest.update(np.ascontiguousarray(self.popularity[: len(self.index)]).tobytes())
        return digest.hexdigest()

    def _parts(self) -> list[Any]:
        known = len(self.bundle.users)
        return [
            self.bundle.id,
            self.seq,
            self.popularity_at,
            self.users.raw[known:],
            self.videos.raw[self.trained :],
            *(sorted(rows) for rows in (self.hidden, self.deleted, self.nameless, self.rowless)),
            [[row, self.columns[row]] for row in sorted(self.columns)],
            [[row, self.features[row]] for row in sorted(self.features)],
            [[user, self.met[user]] for user in sorted(self.met)],
        ]

    def snapshot(self, log_identity: str) -> bytes:
        """Everything beyond the bundle, to go on from; see :meth:`restore`."""
        added = self.index.rows[self.trained :].clone()
        size = len(self.index)
        tensors = {"rows": added.contiguous(), "popularity": torch.from_numpy(self.popularity[:size].copy())}
        about = {"bundle": self.bundle.id, "log": log_identity, "parts": self._parts()}
        body = save(tensors, {"state": json.dumps(about)})
        return hashlib.blake2b(body, digest_size=_DIGEST).digest() + body

    @classmethod
    def restore(cls, bundle: Bundle, log_identity: str, path: str | Path, rules: Rules | None = None) -> State:
        """The state that :meth:`snapshot` wrote.

        Raises:
            StateError: of another bundle or log, or damaged.
            FileNotFoundError: there is none.
        """
        whole = Path(path).read_bytes()
        digest, body = whole[:_DIGEST], whole[_DIGEST:]
        if hashlib.blake2b(body, digest_size=_DIGEST).digest() != digest:
            raise StateError(f"{path} is not what was written")
        try:
            tensors = load(body)
            size = int.from_bytes(body[:8], "little")
            about = json.loads(json.loads(body[8 : 8 + size])["__metadata__"]["state"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise StateError(f"{path} is no snapshot: {error}") from error
        if (about["bundle"], about["log"]) != (bundle.id, log_identity):
            raise StateError(f"{path} belongs to bundle {about['bundle']} and log {about['log']}")
        out = cls(bundle, rules)
        _, out.seq, out.popularity_at, users, videos, hidden, deleted, nameless, rowless, columns, features, met = (
            about["parts"]
        )
        for raw in users:
            out.users.add(raw)
        for raw in videos:
            out.videos.add(raw)
        out.index.append(tensors["rows"])
        out.popularity = tensors["popularity"].numpy().copy()
        out.hidden, out.deleted, out.nameless, out.rowless = (set(r) for r in (hidden, deleted, nameless, rowless))
        out.columns = {row: dict(values) for row, values in columns}
        out.columns_version = len(out.columns)
        out.titled = out.titled or any("title" in values for values in out.columns.values())
        out.features = {row: dict(values) for row, values in features}
        out.met = {user: [Met(*met) for met in events] for user, events in met}
        out.interactions = sum(map(len, out.met.values()))
        out.dirty = {user for user in out.met if out.clicks(user)}
        out._pending = [row for row in out.features if row < out.trained]
        out._embed_pending()
        for row in {*torch.nonzero(bundle.gate).flatten().tolist(), *out.gated()}:
            out._gate(row)
        return out

    def write(self, log_identity: str, path: str | Path) -> None:
        """Writes a snapshot, whole or not at all."""
        write_atomically(Path(path), self.snapshot(log_identity))


def nobody_as_stranger(users: Sequence[int]) -> Tensor:
    """[B] rows, -1 as a row beyond all that rules know: a stranger's."""
    rows = torch.tensor(list(users), dtype=torch.int64)
    return rows.masked_fill_(rows < 0, torch.iinfo(torch.int64).max)


def shortened(constraint: Constraint, k: int) -> Constraint:
    """The constraint for a list of k: one that is shorter than what quotas ask for at least keeps to the most alone."""
    if sum(quota.at_least for quota in constraint.quotas) <= k:
        return constraint
    return replace(constraint, quotas=tuple(replace(quota, at_least=0) for quota in constraint.quotas))


def _has(column: pl.Series, values: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows of a text or list-of-text column hold one of the values."""
    wanted = pl.Series(list(values), dtype=pl.String)
    if isinstance(column.dtype, pl.List):
        flat = column.to_frame("value").with_row_index("row").explode("value")
        rows = flat.filter(pl.col("value").is_in(wanted.implode()))["row"].to_numpy()
        out = np.zeros(len(column), dtype=bool)
        out[rows] = True
        return out
    return column.is_in(wanted.implode()).fill_null(False).to_numpy()
