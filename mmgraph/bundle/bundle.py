"""A bundle in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mmgraph.bundle.folder import BundleError, check, read_manifest
from mmgraph.bundle.history import History
from mmgraph.bundle.ids import Ids
from mmgraph.bundle.manifest import Manifest
from mmgraph.bundle.towers import Tower
from mmgraph.ops.csr import CSR
from mmgraph.ops.topk import TopK, best_of, topk

TABLES, HISTORY, USERS, VIDEOS = "tables.safetensors", "history.safetensors", "users.parquet", "videos.parquet"

PAIR = "pair.safetensors"

HIDDEN, DELETED, NAMELESS, ROWLESS = 1, 2, 4, 8


class Bundle:
    """A trained model that ranks: tables, ids, what was seen. Made by :func:`load`; a value, never written to.

    Attributes:
        folder: where it lies.
        manifest: what it is.
        id: 16 hex digits that name the contents.
        users, videos: raw ids and rows.
        user: [U, D] float32, or None for a linear model.
        video: [V, D] float32; [V, V] for a linear model, row j what a click on j adds to every score.
        popularity: [V] float64, decayed counts at ``manifest.popularity_at``.
        gate: [V] uint8, why a video is not ranked: :data:`HIDDEN`, :data:`DELETED`, :data:`NAMELESS` (events named it,
            nobody described it) or :data:`ROWLESS` (it has no row), added up; 0 for one that is.
        gram: [D, D] VᵀV, or None for a linear model.
        history: what each user met.
        columns: V rows: ``id``, ``title`` where the data has one, and what can be filtered by.
        cold, tower: the towers for a new video and for a user, or None.
        pair: what re-scores lists where the model's score is no product of rows, or None.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest, self.id = folder, manifest, manifest.id
        tables = _tensors(folder / TABLES)
        past = _tensors(folder / HISTORY)
        self.users = Ids(_frame(folder / USERS)["id"].to_list())
        self.columns = _frame(folder / VIDEOS)
        self.videos = Ids(self.columns["id"].to_list())
        self.user: Tensor | None = tables.get("user")
        self.video: Tensor = tables["video"]
        self.popularity: Tensor = tables["popularity"]
        self.gate: Tensor = tables["gate"]
        self.gram: Tensor | None = tables.get("gram")
        self.history = History(past["indptr"].numpy(), past["video"].numpy(), past["time"].numpy())
        self.cold = Tower(folder / "towers/cold.pt2") if manifest.cold is not None else None
        self.tower = Tower(folder / "towers/user.pt2") if manifest.user is not None else None
        self.pair = Pair(folder, manifest) if manifest.rescore is not None else None
        self._check()

    def _check(self) -> None:
        users, videos, dim = self.manifest.users, self.manifest.videos, self.manifest.dim
        width = dim if self.manifest.kind == "factors" else videos
        wanted = {
            "video": (tuple(self.video.shape), (videos, width)),
            "popularity": (tuple(self.popularity.shape), (videos,)),
            "gate": (tuple(self.gate.shape), (videos,)),
            "user ids": (len(self.users), users),
            "video ids": (len(self.videos), videos),
            "history": (len(self.history), users),
        }
        if self.user is not None:
            wanted["user"] = (tuple(self.user.shape), (users, dim))
        for name, (found, expected) in wanted.items():
            if found != expected:
                raise BundleError(f"{self.folder}: {name} is {found}, the manifest says {expected}")

    def seen(self, users: Sequence[int]) -> CSR:
        """What these users met, CSR [n, V]."""
        rows = [np.unique(self.history.of(user)[0]) for user in users]
        indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
        videos = np.concatenate([*rows, np.empty(0, np.int32)]).astype(np.int32)
        return CSR(torch.from_numpy(indptr), torch.from_numpy(videos), None, (len(rows), len(self.videos)))

    @torch.no_grad()
    def rank(self, users: Sequence[str], k: int = 10, *, exclude_seen: bool = True, rescore: bool = True) -> TopK:
        """The k best videos of known users, as rows; those behind the gate never.

        ``rescore=False``: in the order of the rows, also where the model's own score would re-score the best of them.

        Raises:
            KeyError: an unknown user, with close ones.
        """
        rows = []
        for raw in users:
            if raw not in self.users:
                raise KeyError(f"unknown user {raw!r}; close to it: {self.users.close(raw) or 'none'}")
            rows.append(self.users.row[raw])
        seen = self.seen(rows) if exclude_seen else None
        allowed = self.gate == 0
        if self.user is not None:
            if self.pair is None or not rescore:
                return topk(self.user[rows], self.video, k, seen=seen, candidates=allowed)
            found = topk(self.user[rows], self.video, max(k, self.pair.candidates), seen=seen, candidates=allowed)
            return self.pair.best(torch.tensor(rows), found, k)
        clicks = [torch.from_numpy(np.unique(self.history.of(row)[0])).long() for row in rows]
        scores = torch.stack([self.video[mine].sum(0) for mine in clicks]).masked_fill(~allowed, -torch.inf)
        if seen is not None:
            scores[seen.row_indices().long(), seen.indices.long()] = -torch.inf
        return best_of(scores, k)

    def recommend(self, users: Sequence[str], k: int = 10, *, exclude_seen: bool = True) -> dict[str, list[Any]]:
        """Raw user id -> raw ids of the k best videos, best first; see :meth:`rank`."""
        found = self.rank(users, k, exclude_seen=exclude_seen)
        raw = self.videos.raw
        return {user: [raw[v] for v in row if v >= 0] for user, row in zip(users, found.video.tolist(), strict=True)}


class Pair:
    """The model's own score of pairs, in a bundle whose rows only find the candidates.

    Args:
        folder: of the bundle.
        manifest: of the bundle; it has ``rescore``.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        assert manifest.rescore is not None
        rows = _tensors(folder / PAIR)
        self.user, self.video = rows["user"], rows["video"]
        self.tower, self.candidates = Tower(folder / "towers/pair.pt2"), manifest.rescore.candidates
        if len(self.user) > manifest.users or len(self.video) > manifest.videos:
            raise BundleError(f"{folder / PAIR}: {len(self.user)} users and {len(self.video)} videos")

    def best(self, users: Tensor, found: TopK, k: int) -> TopK:
        """The k best of some lists [B, C] by this score.

        Users and videos that came after training have no row here: such a list stays as it is, and such a video keeps
        its place, with the score of the one above it.

        Args:
            users: rows [B].
            found: by the rows, best first, -1 where there were too few.
            k: how many.
        """
        known = (found.video >= 0) & (found.video < len(self.video)) & (users < len(self.user)).unsqueeze(1)
        rows = torch.where(known, found.video, 0)
        given = self.tower(self.user[users.clamp_max(len(self.user) - 1)], self.video[rows])
        order = given.masked_fill(~known, -torch.inf).argsort(dim=1, descending=True, stable=True)
        score, video = found.score.clone(), found.video.clone()
        for line in known.any(1).nonzero().flatten().tolist():
            places = known[line].nonzero().flatten()
            best = order[line, : len(places)]
            video[line, places], score[line, places] = found.video[line, best], given[line, best]
            above = torch.where(known[line], torch.arange(len(known[line])), -1).cummax(0).values.clamp_min(places[0])
            score[line] = torch.where(video[line] >= 0, score[line, above], -torch.inf)
        return TopK(score[:, :k], video[:, :k])


def load(folder: str | Path) -> Bundle:
    """Reads a bundle; every hash is checked first. Needs neither PyG nor transformers nor training code.

    Raises:
        BundleError: no bundle, or not what was written; the message names the file.
    """
    folder = Path(folder).resolve()  # a link that is moved meanwhile does not mix two bundles
    manifest = read_manifest(folder)
    check(folder, manifest)
    return Bundle(folder, manifest)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error


def _frame(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
