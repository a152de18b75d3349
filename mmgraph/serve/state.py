"""What a server knows: a bundle, and everything that the log said since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.bundle import Bundle
from mmgraph.bundle.bundle import DELETED, HIDDEN, NAMELESS, ROWLESS
from mmgraph.constraint import Blocked, Constraint
from mmgraph.ops import TopK
from mmgraph.serve.columns import Columns
from mmgraph.serve.features import embed
from mmgraph.serve.index import Lists, MakeIndex, as_lists, exact
from mmgraph.serve.limits import nobody_as_stranger, shortened
from mmgraph.serve.log import Entry, Event, EventLog
from mmgraph.serve.popularity import Popularity
from mmgraph.serve.profiles import POSITIVE, Met, Profiles

_GATHER = 256  # new videos embedded in one pass

Rules = Callable[[Constraint, "State"], Constraint]


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
        make_index: how videos are searched: :func:`mmgraph.serve.index.exact`, or
            :func:`mmgraph.serve.ann.approximate`.
    """

    def __init__(self, bundle: Bundle, rules: Rules | None = None, make_index: MakeIndex = exact) -> None:
        self.bundle, self.rules, self._ruled_at = bundle, rules, 0
        self.users, self.videos = bundle.users.copy(), bundle.videos.copy()
        self.linear = bundle.user is None
        self.trained = len(bundle.videos)
        self.index = make_index(bundle)
        self.seq = bundle.manifest.log.seq
        self.hidden, self.deleted, self.nameless, self.rowless = (
            set(torch.nonzero(bundle.gate & bit).flatten().tolist()) for bit in (HIDDEN, DELETED, NAMELESS, ROWLESS)
        )
        self._out = self.hidden | self.deleted | self.nameless  # rows that nobody may get now
        self._constraint: Constraint | None = None
        self._unmade = self.nameless | self.rowless  # in the bundle, but without a row of its own
        self.blocked_version = 0
        self.columns = Columns(bundle.columns, self.trained)
        self.features: dict[int, dict[str, str]] = {}
        self.profiles = Profiles(bundle, self.index, self.nameless, self.rowless)
        about = bundle.manifest
        self.popularity = Popularity(bundle.popularity.numpy(), about.popularity_at, about.half_life)
        self.route: Callable[[int], str] | None = None
        """The bundle's own way to answer who met so many videos, see :data:`mmgraph.serve.answering.Route`."""
        self.interactions = 0
        self.unreadable = 0
        """Entries that are no events of ours; they change nothing else."""
        self.pending: list[int] = []
        for row in torch.nonzero(bundle.gate).flatten().tolist():
            self.index.hide(row)
        self.publish(self.popularity.at)

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
        self.embed_pending()

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
            self.gate(row)
        elif kind in (*POSITIVE, "skip"):
            self._meet(self.users.add(str(data["user"])), self._video(str(data["video"])), event)

    def _meet(self, user: int, video: int, event: Event) -> None:
        self.profiles.meet(user, Met(video, event.time, event.kind))
        self.interactions += 1
        if event.kind in POSITIVE:
            self.popularity.count(video, event.time)

    def _video(self, raw: str) -> int:
        row = self.videos.find(raw)
        if row < 0:
            row = self.videos.add(raw)
            self._grow(row)
            self.nameless.add(row)
            self.gate(row)
        return row

    def _grow(self, row: int) -> None:
        self.index.append(torch.zeros(1, self.index.rows.shape[1]))
        self.popularity.grow(row)

    def _describe(self, raw: str, data: Mapping[str, Any]) -> None:
        # everything is read before anything changes: an entry that is no description leaves nothing half done
        columns = None if data.get("columns") is None else dict(data["columns"])
        features = {str(name): str(values) for name, values in dict(data.get("features") or {}).items()}
        row = self._video(raw)
        self.nameless.discard(row)
        self.deleted.discard(row)
        if columns is not None:
            self.columns.describe(row, columns)
        if row >= self.trained or row in self._unmade:
            if features:
                self.features[row] = features
                self.pending.append(row)
            elif row not in self.features:
                self.rowless.add(row)
        self.gate(row)

    def _add_features(self, raw: str, data: Mapping[str, Any]) -> None:
        features = {str(name): str(values) for name, values in dict(data["features"]).items()}
        row = self._video(raw)
        if row >= self.trained or row in self._unmade:
            self.features[row] = {**self.features.get(row, {}), **features}
            self.pending.append(row)

    def gate(self, row: int) -> None:
        """Puts the index in line with what is known of a row."""
        self.blocked_version += 1
        barred = row in self.hidden or row in self.deleted or row in self.nameless
        (self._out.add if barred else self._out.discard)(row)
        if barred or row in self.rowless:
            self.index.hide(row)
        else:
            self.index.show(row)

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
            or (self.rules is not None and self._ruled_at != self.columns.version)
        ):
            known = Constraint(len(self.index), blocked=Blocked(frozenset(self._out), self.blocked_version))
            if self.rules is not None:
                self._ruled_at = self.columns.version
                known = self.rules(known, self)
            self._constraint = known
        return known

    def barred(self, row: int) -> bool:
        """Whether nobody may get this video now; what is no video is barred."""
        return not self.constraint.opens([row])[0]

    def embed_pending(self) -> None:
        """Rows of the videos that were described since; those the bundle has no way for become ``rowless``."""
        rows = list(dict.fromkeys(self.pending))
        for start in range(0, len(rows), _GATHER):
            some = rows[start : start + _GATHER]
            values, good = embed(self.bundle, [self.features[row] for row in some], self.index.rows.shape[1])
            for row, value, fits in zip(some, values, good, strict=True):
                (self.rowless.discard if fits else self.rowless.add)(row)
                if fits:
                    self.index.replace(row, value)
                self.gate(row)
        self.pending.clear()

    # -- asking ------------------------------------------------------------------------------------

    def search(
        self,
        queries: Sequence[Tensor],
        k: int,
        exclude: Sequence[NDArray[np.int64]] = (),
        allowed: Tensor | None = None,
        users: Sequence[int] = (),
    ) -> Lists:
        """The k best for each of some rows that :attr:`profiles` gave, under the constraint.

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
        """Scores [n] of a row of :attr:`profiles` for some videos; -inf for what may not be shown."""
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
        """Ranks by popularity anew at UTC seconds ``now``: what :meth:`popular` reads until the next time."""
        self.popularity.publish(now, self.constraint)

    def popular(self, k: int, exclude: NDArray[np.int64], allowed: Tensor | None = None) -> NDArray[np.int64]:
        """Rows of the k most popular videos that may be shown, best first, by the ranking last published."""
        return self.popularity.best(k, self.constraint, exclude, allowed)

    def allowed(self, wanted: Mapping[str, Sequence[str]]) -> Tensor | None:
        """The filter over the videos there are now, see :meth:`Columns.allowed`."""
        return self.columns.allowed(wanted, len(self.index))

    def likeness(self, row: int, others: Sequence[int]) -> Tensor:
        """How like a video is to others, [n]: cosine of their rows; linear: what a click on each adds to its score."""
        if self.linear:
            return self.bundle.video[list(others), row]
        vectors = torch.nn.functional.normalize(self.index.rows[list(others)], dim=1)
        return vectors @ torch.nn.functional.normalize(self.index.rows[row], dim=0)
