"""The split that ships with the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError
from mmgraph.data.split.protocol import SeenAtTest
from mmgraph.data.split.queues import check_dataset, check_seed, shuffled_pairs
from mmgraph.data.split.sealed import Repeats, Split


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
    check_dataset(dataset)
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
        seed = check_seed(seed)
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


def _carve_valid(dataset: Dataset, part: NDArray[np.int8], share: float, seed: int) -> NDArray[np.int8]:
    rows = np.flatnonzero(part == 0)
    queues, pair = shuffled_pairs(dataset, seed, rows)
    count = queues.count
    take = np.where(count >= 2, np.clip(np.round(count * share), 1, count - 1), 0)
    carved = part.copy()
    carved[rows[queues.by_row(queues.rank < take)[pair]]] = 1
    return carved
