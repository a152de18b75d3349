"""What users met, and their rows, which follow their clicks."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.bundle import Bundle
from mmgraph.bundle.towers import ridge_row
from mmgraph.serve.index import Index

POSITIVE = ("click", "finish", "like")


class Met(NamedTuple):
    """One event of a user: the video's row, when, and what it was."""

    video: int
    time: float
    kind: str


class Profiles:
    """Users by row: those of a bundle and those who came since.

    Args:
        bundle: their rows and histories, and how rows follow clicks.
        index: rows of the videos.
        nameless, rowless: videos that say nothing of who met them; sets that the owner changes.

    Attributes:
        met: user -> their events since the bundle, in order of the log.
        rows: user -> row [D] that differs from the bundle's, scores [V] for a linear model.
        behind: users whose row is older than their last click.
    """

    def __init__(self, bundle: Bundle, index: Index, nameless: AbstractSet[int], rowless: AbstractSet[int]) -> None:
        self.bundle, self.index, self._nameless, self._rowless = bundle, index, nameless, rowless
        self.linear, self.trained = bundle.user is None, len(bundle.videos)
        self.met: dict[int, list[Met]] = {}
        self.rows: dict[int, Tensor] = {}
        self.behind: set[int] = set()
        self._known = b"" if bundle.user is None else bundle.user.any(dim=1).numpy().tobytes()
        """A byte for each trained user: 0 where their row is, for nothing was known of them."""
        fold = bundle.manifest.fold_in
        self._base: Tensor | None = None
        if bundle.gram is not None:
            self._base = fold.background * bundle.gram + fold.reg * torch.eye(len(bundle.gram))

    def meet(self, user: int, met: Met) -> None:
        """Notes an event."""
        self.met.setdefault(user, []).append(met)
        if met.kind in POSITIVE:
            self.behind.add(user)

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

    def of(self, user: int) -> Tensor | None:
        """A user's row [D] with all clicks so far in it, scores [V] for a linear model; None where nothing is known."""
        if user not in self.behind:
            known = self.rows.get(user)
            if known is not None:
                return known
            if self.bundle.user is not None and user < len(self._known):
                return self.bundle.user[user] if self._known[user] else None
        row = self._fold_in(user)
        self.behind.discard(user)
        if row is not None:
            self.rows[user] = row
        return row

    def refresh(self, limit: int) -> int:
        """Brings up to ``limit`` rows that are behind up to date; how many are behind still."""
        for user in list(self.behind)[:limit]:
            self.of(user)
        return len(self.behind)

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
        usable = [met for met in history if met.video not in self._nameless and met.video not in self._rowless]
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
