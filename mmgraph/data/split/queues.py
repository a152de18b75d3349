"""The interactions of each user in a queue, and which part each place of it goes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgraph.data.checks import pair_keys
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError


@dataclass(frozen=True, eq=False)
class Queues:
    """E rows, one queue a user.

    Args:
        order: [E] the rows, sorted by user and, within, by their place in the queue.
        rank: [E] the place of each row of ``order``, from 0.
        count: [E] how many rows that user has.
    """

    order: NDArray[np.int64]
    rank: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, user: NDArray[np.int64], key: NDArray) -> Queues:
        """Queues of the users [E] by ascending key [E]; ties keep the order of the rows."""
        order = np.lexsort((key, user))
        user = user[order]
        starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]]) if len(user) else np.zeros(0, dtype=np.int64)
        counts = np.diff(np.r_[starts, len(user)])
        return cls(order, np.arange(len(user)) - np.repeat(starts, counts), np.repeat(counts, counts))

    def by_row(self, values: NDArray) -> NDArray:
        """Values [E] of the rows of ``order``, as values [E] of the rows in the order they came in."""
        out = np.empty_like(values)
        out[self.order] = values
        return out

    def shared_out(self, shares: Sequence[float]) -> NDArray[np.int8]:
        """The part [E] of each row (0, 1, 2): the front of a queue trains, its end tests, by the package's rule."""
        train = np.clip(np.floor(self.count * shares[0] + 1e-9), 1, np.maximum(self.count - 2, 1))
        rest = self.count - train
        valid = np.clip(np.round(rest * shares[1] / (shares[1] + shares[2])), 1, np.maximum(rest - 1, 1))
        part = np.where(self.rank < train, 0, np.where(self.rank < train + valid, 1, 2))
        return self.by_row(np.where(self.count < 3, 0, part).astype(np.int8))


def in_order(dataset: Dataset, column: str) -> Queues:
    """The interactions of each user by a column; ties keep the row order of the dataset."""
    return Queues.of(dataset.interactions["user"].to_numpy(), dataset.interactions[column].to_numpy())


def shuffled_pairs(
    dataset: Dataset, seed: int, rows: NDArray[np.int64] | slice = slice(None)
) -> tuple[Queues, NDArray[np.int64]]:
    """The distinct pairs among these rows [E], each user's in random order, and the pair [E] that each row repeats.

    The draw depends on the pairs and the seed, not on the row order of the file.
    """
    keys, pair = np.unique(pair_keys(dataset.interactions, dataset.num_videos)[rows], return_inverse=True)
    draw = np.random.default_rng(seed).random(len(keys))
    return Queues.of(keys // max(dataset.num_videos, 1), draw), pair


def check_dataset(dataset: Dataset) -> None:
    """Raises a TypeError for what is no dataset, such as a path."""
    if not isinstance(dataset, Dataset):
        raise TypeError(f"a {type(dataset).__name__} in place of a Dataset: read it first, as with read_csv(path)")


def check_seed(seed: int) -> int:
    """The seed of a draw.

    Raises:
        TypeError, ValueError: it is no whole number from 0 on: a draw that nobody can repeat has no protocol id.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed={seed!r}: give a whole number from 0 on, so that the split can be made again")
    if seed < 0:
        raise ValueError(f"seed={seed}: give a whole number from 0 on")
    return int(seed)


def order_column(dataset: Dataset, order_by: str | None) -> str:
    """The column to order by: ``order_by`` when given, else ``time``, else ``position``.

    Raises:
        DataError: there is none.
    """
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


def sum_to_one(ratios: Sequence[float]) -> list[float]:
    """The shares of train, valid and test.

    Raises:
        DataError: not three positive numbers.
    """
    try:
        shares = [float(r) for r in ratios]
    except (TypeError, ValueError):
        raise DataError(
            f"ratios {ratios!r} are no numbers", fix="give three positive shares, train, valid, test"
        ) from None
    if len(shares) != 3 or not all(np.isfinite(shares)) or min(shares) <= 0:
        raise DataError(
            f"ratios {tuple(ratios)}: a part would be empty", fix="give three positive shares, train, valid, test"
        )
    total = sum(shares)
    return [round(s / total, 12) for s in shares]
