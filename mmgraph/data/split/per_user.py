"""Protocols that divide the interactions of each user, so that every user trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmgraph.data.dataset import Dataset
from mmgraph.data.split.protocol import SeenAtTest
from mmgraph.data.split.queues import check_dataset, check_seed, in_order, order_column, shuffled_pairs, sum_to_one
from mmgraph.data.split.sealed import Repeats, Split


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
    check_dataset(dataset)
    shares, seed = sum_to_one(ratios), check_seed(seed)
    queues, pair = shuffled_pairs(dataset, seed)
    return Split(
        dataset,
        queues.shared_out(shares)[pair],
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
    check_dataset(dataset)
    column = order_column(dataset, order_by)
    queues = in_order(dataset, column)
    from_end = queues.count - queues.rank
    part = np.where(from_end == 1, 2, np.where(from_end == 2, 1, 0))
    part = np.where(queues.count < 3, 0, part).astype(np.int8)
    return Split(
        dataset,
        queues.by_row(part),
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
    check_dataset(dataset)
    shares = sum_to_one(ratios)
    column = order_column(dataset, order_by)
    return Split(
        dataset,
        in_order(dataset, column).shared_out(shares),
        name=name or f"{dataset.name}-user-time",
        method="user_time_split",
        parameters={"ratios": shares, "order_by": column},
        seen_at_test=seen_at_test,
        repeats=repeats,
    )
