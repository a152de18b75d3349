"""Protocols: which interactions train, choose and test a model, with the test part sealed.

Every function here returns a :class:`Split`. What it did is written in its :class:`Protocol`, whose hash is part of
the protocol id: equal ids mean the same users, videos, pairs, features and parts, whatever the row order of the file.

How many interactions of a user go where (random and per-user time splits): a user with n >= 3 interactions keeps
floor(n · train share) of them for training, but at least 1 and at most n - 2; the rest is shared between valid and test
by their ratio, rounded, at least 1 each. A user with fewer than 3 trains only.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mmgraph.data.checks import pair_keys
from mmgraph.data.dataset import Dataset, hash_pairs
from mmgraph.data.errors import DataError, SealedTestError

SeenAtTest = Literal["train", "train+valid"]
Repeats = Literal["error", "keep"]
_PARTS = ("train", "valid", "test")


class Protocol(BaseModel):
    """How a split was made, and the hashes of what came out.

    ``manifest`` holds hashes of users, videos, pairs, each modality's features, and of the pairs of each part.
    ``seen_at_test`` says which interactions the graph holds, and ranking masks, when the test part is ranked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dataset: str
    method: str
    parameters: dict[str, Any]
    seed: int | None
    seen_at_test: SeenAtTest
    manifest: dict[str, str]

    @property
    def id(self) -> str:
        """``name`` and 8 hex digits of the hash of all the other fields but the dataset's name."""
        content = self.model_dump(mode="json", exclude={"name", "dataset"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


class Split:
    """A dataset divided into train, valid and a sealed test part.

    Args:
        dataset: all interactions. The split's own ``dataset`` holds train and valid only, so that nothing built from
            it can have seen the test part.
        part: [E] int: 0 train, 1 valid, 2 test, for each row of ``dataset.interactions``.
        name, method, parameters, seed, seen_at_test: go into the :class:`Protocol`.
        repeats: ``error`` refuses a (user, video) pair that is in two parts (it would be masked as seen while it is
            a target), ``keep`` allows it.

    Raises:
        DataError: a part is empty, or a pair is in two parts.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: NDArray[np.integer],
        *,
        name: str,
        method: str,
        parameters: dict[str, Any],
        seed: int | None = None,
        seen_at_test: SeenAtTest = "train",
        repeats: Repeats = "error",
    ) -> None:
        rows = [np.flatnonzero(part == p) for p in range(3)]
        sizes = {what: len(r) for what, r in zip(_PARTS, rows)}
        for what, size in sizes.items():
            if not size:
                raise DataError(
                    f"{method}: the {what} part is empty ({sizes} of {len(part)} interactions)",
                    fix="give that part a larger share, or use a protocol that suits the data: users with fewer than 3 "
                    "interactions train only",
                )
        if seen_at_test not in ("train", "train+valid"):
            raise ValueError(f"seen_at_test={seen_at_test!r}: use 'train' or 'train+valid'")
        if repeats not in ("error", "keep"):
            raise ValueError(f"repeats={repeats!r}: use 'error' or 'keep'")
        if repeats == "error":
            _refuse_repeats(dataset, part, method)
        train, valid, test = (dataset.interactions[r] for r in rows)
        manifest = dataset.manifest()
        for what, frame in zip(_PARTS, (train, valid, test)):
            manifest[what] = hash_pairs(frame, dataset.num_videos)
        self.protocol = Protocol(
            name=name,
            dataset=dataset.name,
            method=method,
            parameters={**parameters, "repeats": repeats},
            seed=seed,
            seen_at_test=seen_at_test,
            manifest=manifest,
        )
        self.protocol_id = self.protocol.id
        self.train, self.valid = train, valid
        self.dataset = replace(dataset, interactions=pl.concat([train, valid], rechunk=False))
        self.num_test = len(test)
        self._test = test
        self._openings: list[str] = []

    def __repr__(self) -> str:
        parts = f"{len(self.train)} train, {len(self.valid)} valid, {self.num_test} sealed test"
        return f"Split({self.protocol_id!r}: {parts})"

    def with_parameters(self, **parameters: Any) -> Split:
        """The same parts under a protocol that says more, hence another id; openings of the test are shared.

        What a model may see beside the seen interactions belongs there: ``split.with_parameters(transductive_exposure=
        True)``. :class:`~mmgraph.experiment.Experiment` does it for transforms that have ``protocol_parameters``.
        """
        out = copy.copy(self)
        merged = {**self.protocol.parameters, **parameters}
        out.protocol = self.protocol.model_copy(update={"parameters": merged})
        out.protocol_id = out.protocol.id
        return out

    @property
    def test(self) -> pl.DataFrame:
        """Sealed: always raises. ``mmgraph.evaluate.evaluate_test`` opens it, once an experiment.

        Raises:
            SealedTestError: always.
        """
        raise SealedTestError(
            "the test part is sealed: choose the model on valid, then call mmgraph.evaluate.evaluate_test(model, "
            "graph, split, experiment), which opens it once and writes the opening into the result"
        )

    def open_test(self, experiment: str) -> pl.DataFrame:
        """The test interactions, once for each experiment name; the opening is recorded. For ``evaluate_test`` only.

        Raises:
            SealedTestError: this experiment has opened it before.
        """
        if not experiment or not isinstance(experiment, str):
            raise SealedTestError(f"opening the test part needs the experiment's name, got {experiment!r}")
        if experiment in self._openings:
            raise SealedTestError(
                f"experiment {experiment!r} has opened the test part of {self.protocol_id} already: a second look "
                "would be selection on test. Choose on valid; another experiment needs another name"
            )
        self._openings.append(experiment)
        return self._test

    @property
    def openings(self) -> tuple[str, ...]:
        """The experiments that opened the test part, in order."""
        return tuple(self._openings)

    def seen(self, stage: Literal["valid", "test"]) -> pl.DataFrame:
        """The interactions known when this part is ranked: the edges of the graph, and the pairs that are masked."""
        if stage not in ("valid", "test"):
            raise ValueError(f"stage={stage!r}: use 'valid' or 'test'")
        if stage == "test" and self.protocol.seen_at_test == "train+valid":
            return self.dataset.interactions
        return self.train


def random_split(
    dataset: Dataset,
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    *,
    seen_at_test: SeenAtTest = "train",
    name: str | None = None,
) -> Split:
    """A random share of each user's pairs (8:1:1). Rows that repeat a pair stay together.

    The draw depends on the pairs and the seed, not on the row order of the file.
    """
    shares = _shares(ratios)
    keys, back = np.unique(pair_keys(dataset.interactions, dataset.num_videos), return_inverse=True)
    user = keys // max(dataset.num_videos, 1)
    order = np.lexsort((np.random.default_rng(seed).random(len(keys)), user))
    part = np.empty(len(keys), dtype=np.int8)
    part[order] = _by_rank(user[order], shares)
    return Split(
        dataset,
        part[back],
        name=name or f"{dataset.name}-random",
        method="random_split",
        parameters={"ratios": shares},
        seed=seed,
        seen_at_test=seen_at_test,
    )


def leave_last_one_out(
    dataset: Dataset,
    *,
    order_by: str | None = None,
    seen_at_test: SeenAtTest = "train+valid",
    repeats: Repeats = "error",
    name: str | None = None,
) -> Split:
    """Each user's last interaction is test, the one before valid, the rest train; users with fewer than 3 train only.

    Order is ``time``, else ``position``, else the column ``order_by``; ties keep the row order of the dataset.

    Raises:
        DataError: there is no column to order by.
    """
    column = _order_column(dataset, order_by)
    user, order, rank, count = _in_order(dataset, column)
    from_end = count - rank
    ordered = np.where(count < 3, 0, np.where(from_end == 1, 2, np.where(from_end == 2, 1, 0))).astype(np.int8)
    part = np.empty(len(user), dtype=np.int8)
    part[order] = ordered
    return Split(
        dataset,
        part,
        name=name or f"{dataset.name}-loo",
        method="leave_last_one_out",
        parameters={"order_by": column},
        seen_at_test=seen_at_test,
        repeats=repeats,
    )


def user_time_split(
    dataset: Dataset,
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    order_by: str | None = None,
    seen_at_test: SeenAtTest = "train+valid",
    repeats: Repeats = "error",
    name: str | None = None,
) -> Split:
    """Each user's oldest interactions train, the next are valid, the newest test. Order and ties as in
    :func:`leave_last_one_out`."""
    shares = _shares(ratios)
    column = _order_column(dataset, order_by)
    user, order, _, _ = _in_order(dataset, column)
    part = np.empty(len(user), dtype=np.int8)
    part[order] = _by_rank(user[order], shares)
    return Split(
        dataset,
        part,
        name=name or f"{dataset.name}-user-time",
        method="user_time_split",
        parameters={"ratios": shares, "order_by": column},
        seen_at_test=seen_at_test,
        repeats=repeats,
    )


def global_time_split(
    dataset: Dataset,
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    seen_at_test: SeenAtTest = "train",
    repeats: Repeats = "error",
    name: str | None = None,
) -> Split:
    """Two moments divide all interactions: train before the first, valid before the second, test after.

    The moments are times of interactions (the quantiles at the ratios); interactions of one moment stay together, so
    max(train time) < min(valid time) and max(valid time) < min(test time).

    Raises:
        DataError: no ``time`` column, or a part without a moment of its own.
    """
    shares = _shares(ratios)
    _order_column(dataset, "time")
    time = dataset.interactions["time"].to_numpy()
    ordered = np.sort(time)
    cuts = [ordered[min(round(len(ordered) * share), len(ordered) - 1)] for share in (shares[0], shares[0] + shares[1])]
    part = np.searchsorted(np.array(cuts), time, side="right").astype(np.int8)
    return Split(
        dataset,
        part,
        name=name or f"{dataset.name}-global-time",
        method="global_time_split",
        parameters={"ratios": shares, "cuts": [float(c) for c in cuts]},
        seen_at_test=seen_at_test,
        repeats=repeats,
    )


def cold_video_split(
    dataset: Dataset,
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    *,
    seen_at_test: SeenAtTest = "train",
    name: str | None = None,
) -> Split:
    """A random share of the videos trains, the others are new: the videos of the three parts are disjoint.

    The ratios count videos that have interactions; all interactions of a video are in its part.
    """
    shares = _shares(ratios)
    video = dataset.interactions["video"].to_numpy()
    watched = np.unique(video)
    shuffled = np.random.default_rng(seed).permutation(watched)
    ends = [round(len(watched) * shares[0]), round(len(watched) * (shares[0] + shares[1]))]
    part_of = np.zeros(dataset.num_videos, dtype=np.int8)
    part_of[shuffled[ends[0] :]] = 1
    part_of[shuffled[ends[1] :]] = 2
    return Split(
        dataset,
        part_of[video],
        name=name or f"{dataset.name}-cold-video",
        method="cold_video_split",
        parameters={"ratios": shares},
        seed=seed,
        seen_at_test=seen_at_test,
    )


def published_split(
    dataset: Dataset,
    column: str = "x_label",
    train: Any = 0,
    valid: Any = 1,
    test: Any = 2,
    *,
    valid_ratio: float | None = None,
    seed: int = 0,
    seen_at_test: SeenAtTest = "train",
    repeats: Repeats = "error",
    name: str | None = None,
) -> Split:
    """The split that ships with the data, in a column of the interactions.

    Args:
        column: holds ``train``, ``valid`` and ``test``.
        valid_ratio: for data that ship without a valid part: this share of each user's training pairs, drawn with
            ``seed``, becomes valid (at least 1 of a user with 2 or more; fewer stay in train).

    Raises:
        DataError: no such column, a value that is none of the three, an empty part.
    """
    if column not in dataset.interactions.columns:
        raise DataError(
            f"the column is missing; there are {dataset.interactions.columns}",
            column=column,
            fix="name the column that holds the published split, or use another protocol",
        )
    values = dataset.interactions[column]
    part = np.full(len(values), -1, dtype=np.int8)
    for index, value in enumerate((train, valid, test)):
        part[(values == value).fill_null(False).to_numpy()] = index
    if (part < 0).any():
        row = int(np.argmax(part < 0))
        raise DataError(
            f"{values[row]!r} is neither train={train!r}, valid={valid!r} nor test={test!r}",
            row=row,
            column=column,
            fix="say which value means which part",
        )
    if valid_ratio is not None:
        if not 0 < valid_ratio < 1:
            raise ValueError(f"valid_ratio={valid_ratio}: give a share between 0 and 1")
        if (part == 1).any():
            raise DataError("valid_ratio was given but the split ships a valid part", column=column, fix="leave it out")
        part = _carve_valid(dataset, part, valid_ratio, seed)
    return Split(
        dataset,
        part,
        name=name or f"{dataset.name}-published",
        method="published_split",
        parameters={"column": column, "train": train, "valid": valid, "test": test, "valid_ratio": valid_ratio},
        seed=None if valid_ratio is None else seed,
        seen_at_test=seen_at_test,
        repeats=repeats,
    )


def _shares(ratios: Sequence[float]) -> list[float]:
    shares = [float(r) for r in ratios]
    if len(shares) != 3 or not all(np.isfinite(shares)) or min(shares) <= 0:
        raise DataError(
            f"ratios {tuple(ratios)}: a part would be empty", fix="give three positive shares, train, valid, test"
        )
    total = sum(shares)
    return [round(s / total, 12) for s in shares]


def _order_column(dataset: Dataset, order_by: str | None) -> str:
    columns = dataset.interactions.columns
    choices = ["time", "position"] if order_by is None else [order_by]
    found = next((c for c in choices if c in columns), None)
    if found is None:
        raise DataError(
            f"nothing to order by: no column {' or '.join(choices)}; there are {columns}",
            column=choices[0],
            fix="give the interactions a time, or use random_split",
        )
    return found


def _starts(user: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rank within the user and number of rows of the user, for rows sorted by user. Both [E]."""
    change = np.flatnonzero(np.r_[True, user[1:] != user[:-1]]) if len(user) else np.zeros(0, dtype=np.int64)
    counts = np.diff(np.r_[change, len(user)])
    return np.arange(len(user)) - np.repeat(change, counts), np.repeat(counts, counts)


def _in_order(dataset: Dataset, column: str) -> tuple[NDArray[np.int64], ...]:
    """user [E] in file order; the order by (user, column, file); rank and count of the ordered rows."""
    user = dataset.interactions["user"].to_numpy()
    order = np.lexsort((dataset.interactions[column].to_numpy(), user))
    rank, count = _starts(user[order])
    return user, order, rank, count


def _by_rank(user: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int8]:
    """The part of each row, for rows sorted by user and, within, from train to test (the rule is the module's)."""
    rank, count = _starts(user)
    train = np.clip(np.floor(count * shares[0] + 1e-9), 1, np.maximum(count - 2, 1))
    rest = count - train
    valid = np.clip(np.round(rest * shares[1] / (shares[1] + shares[2])), 1, np.maximum(rest - 1, 1))
    part = np.where(rank < train, 0, np.where(rank < train + valid, 1, 2))
    return np.where(count < 3, 0, part).astype(np.int8)


def _carve_valid(dataset: Dataset, part: NDArray[np.int8], share: float, seed: int) -> NDArray[np.int8]:
    rows = np.flatnonzero(part == 0)
    keys, back = np.unique(pair_keys(dataset.interactions, dataset.num_videos)[rows], return_inverse=True)
    user = keys // max(dataset.num_videos, 1)
    order = np.lexsort((np.random.default_rng(seed).random(len(keys)), user))
    rank, count = _starts(user[order])
    take = np.where(count >= 2, np.clip(np.round(count * share), 1, count - 1), 0)
    chosen = np.empty(len(keys), dtype=bool)
    chosen[order] = rank < take
    carved = part.copy()
    carved[rows[chosen[back]]] = 1
    return carved


def _refuse_repeats(dataset: Dataset, part: NDArray[np.integer], method: str) -> None:
    keys = pair_keys(dataset.interactions, dataset.num_videos)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    crossing = same & (part[order][1:] != part[order][:-1])
    if crossing.any():
        row = int(order[1:][crossing].min())
        user = dataset.user_ids.raw([dataset.interactions["user"][row]])[0]
        video = dataset.video_ids.raw([dataset.interactions["video"][row]])[0]
        raise DataError(
            f"{method}: user {user!r} has video {video!r} in two "
            f"parts ({int(crossing.sum())} such rows): it would be masked as seen while it is a target",
            row=row,
            fix="read the data with duplicates='first', or pass repeats='keep'",
        )
