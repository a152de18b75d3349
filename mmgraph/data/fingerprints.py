"""Hashes of what a dataset is: ids in row order, pairs and tables whatever their order."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgraph.data.checks import (
    pair_keys,
)


def hash_ids(ids: pl.Series) -> str:
    """Hash of raw ids in row order; integers and their decimal text differ."""
    if ids.dtype == pl.Int64:
        return digest(b"int", ids.to_numpy())
    text = ids.cast(pl.String)
    return digest(b"text", text.str.len_bytes().to_numpy(), "".join(text.to_list()).encode())


def hash_pairs(frame: pl.DataFrame, num_videos: int) -> str:
    """Hash of the multiset of (user, video) rows."""
    return digest(str(num_videos).encode(), np.sort(pair_keys(frame, num_videos)))


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
    return digest(*parts)


def digest(*parts: bytes | NDArray) -> str:
    """The hash of parts one after the other, 32 hex digits."""
    out = hashlib.blake2b(digest_size=16)
    for part in parts:
        out.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return out.hexdigest()
