"""User columns as numbers, scaled by what the training rows show."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.checks import check_columns, numbers
from mmgraph.data.errors import DataError, Source
from mmgraph.data.split import Split


def encode_user_features(split: Split, columns: Sequence[str] | None = None) -> Tensor:
    """User table columns as a matrix, with statistics of **training users only**: those with a training interaction.

    A numeric column becomes (x − mean) / standard deviation; a missing value is the mean, hence 0, and a column
    without spread is 0. Text and bool columns become one 0/1 column for each value training users have, in sorted
    order; a missing or unseen value is all zero.

    Args:
        split: whose dataset has the user table and whose train part says who counts.
        columns: which columns, in this order; all but the id by default.

    Returns:
        [U, D] float32, one row a user; :func:`with_user_features` puts it into the split's dataset.

    Raises:
        DataError: a missing column, a type that is neither, infinity, or no column at all.
    """
    users = split.dataset.users
    source = Source("users")
    if columns is None:
        columns = [c for c in users.columns if c != "user_id"]
    if not columns:
        raise DataError("the users table has no column besides the id", fix="read a users table with columns")
    check_columns(users, columns, source)
    train = np.zeros(len(users), dtype=bool)
    train[split.train["user"].to_numpy()] = True
    blocks = [_encode(users[c], train, source) for c in columns]
    return torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32))


def with_user_features(split: Split, columns: Sequence[str] | None = None) -> Split:
    """The split whose dataset has :func:`encode_user_features` as its user features, under a protocol that says so.

    The parts stay, and so do the openings of the test; the protocol id is another, since a model that knows users by
    their columns has another task. ``build_graph`` puts the features on ``graph["user"].x``.

    Args:
        split, columns: as in :func:`encode_user_features`.

    Raises:
        DataError: as there.
    """
    out = copy.copy(split)
    out.dataset = replace(split.dataset, user_features=encode_user_features(split, columns))
    told = {key: value for key, value in out.dataset.manifest().items() if key == "user_features"}
    manifest = {**split.protocol.manifest, **told}
    out.protocol = split.protocol.model_copy(update={"manifest": manifest})
    out.protocol_id = out.protocol.id
    return out


def _encode(column: pl.Series, train: NDArray[np.bool_], source: Source) -> NDArray[np.float64]:
    if column.dtype.is_numeric():
        gaps = column.is_null()
        filled = numbers(column.fill_null(0), source, pl.Float64).rename(column.name).to_numpy()
        known = train & ~gaps.to_numpy()
        mean, spread = (filled[known].mean(), filled[known].std()) if known.any() else (0.0, 0.0)
        scaled = (filled - mean) / spread if spread > 0 else np.zeros(len(filled))
        return np.where(gaps.to_numpy(), 0.0, scaled)[:, None]
    if column.dtype in (pl.String, pl.Boolean, pl.Categorical) or isinstance(column.dtype, pl.Enum):
        text = column.cast(pl.String)
        values = text.filter(pl.Series(train)).drop_nulls().unique().sort()
        return (
            np.stack([(text == value).fill_null(False).to_numpy() for value in values], axis=1).astype(np.float64)
            if len(values)
            else np.zeros((len(text), 0))
        )
    raise source.error(
        f"cannot encode a column of type {column.dtype}", column=column.name, fix="make it numbers, text or bool"
    )
