"""What is known of videos beside their rows: titles, tags, and what lists are filtered by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")


class Columns:
    """Columns of a bundle's videos, and those that the log described since, which take their place.

    Args:
        table: the bundle's.
        trained: how many videos were trained on: those that it has rows for.

    Attributes:
        described: row of a video -> its columns, for those that the log described.
        version: counts the changes.
        titled: whether any video may have a title.
    """

    def __init__(self, table: pl.DataFrame, trained: int) -> None:
        self.table, self.trained = table, trained
        self.described: dict[int, dict[str, Any]] = {}
        self.version = 0
        self.titled = "title" in table.columns
        self._remembered: dict[str, tuple[tuple[int, int], Any]] = {}

    def describe(self, row: int, columns: dict[str, Any]) -> None:
        """Puts columns in the place of those that a video had."""
        self.described[row] = columns
        self.version += 1
        self.titled = self.titled or "title" in columns

    def of(self, row: int, name: str) -> Any:
        """A column of a video, None where it has none."""
        described = self.described.get(row)
        if described is not None and (name in described or row >= self.trained):
            return described.get(name)
        if row < self.trained and name in self.table.columns:
            value = self.table[name][row]
            return value.to_list() if isinstance(value, pl.Series) else value
        return None

    def fit(self, row: int, wanted: Mapping[str, Sequence[str]]) -> bool:
        """Whether one video has one of the values in every column named."""
        for name, values in wanted.items():
            value = self.of(row, name)
            if not set(value if isinstance(value, list) else [value]) & set(values):
                return False
        return True

    def shared(self, one: int, two: int) -> dict[str, list[str]]:
        """Column -> what both videos have of it, for columns of several values, such as tags."""
        out = {}
        for name in self.names():
            mine, theirs = self.of(one, name), self.of(two, name)
            if isinstance(mine, list) and isinstance(theirs, list) and (both := sorted(set(mine) & set(theirs))):
                out[name] = both
        return out

    def names(self) -> list[str]:
        """The columns there are."""
        described = {name for columns in self.described.values() for name in columns}
        return sorted((set(self.table.columns) | described) - {"id"})

    def allowed(self, wanted: Mapping[str, Sequence[str]], size: int) -> Tensor | None:
        """[size] bool: the videos that have one of the values in every column named; None for no filter.

        Raises:
            KeyError: no video has such a column.
        """
        if not wanted:
            return None
        key = json.dumps({name: sorted(values) for name, values in wanted.items()}, sort_keys=True)
        return self.remembered(key, size, lambda: self._mask(wanted, size))

    def remembered(self, key: str, size: int, make: Callable[[], T]) -> T:
        """What depends on the columns of so many videos; made anew once they changed. 64 such things are kept."""
        version = (self.version, size)
        hit = self._remembered.get(key)
        if hit is not None and hit[0] == version:
            return hit[1]
        found = make()
        if len(self._remembered) >= 64:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[key] = (version, found)
        return found

    def _mask(self, wanted: Mapping[str, Sequence[str]], size: int) -> Tensor:
        mask = np.ones(size, dtype=bool)
        for name, values in wanted.items():
            if name == "id" or name not in self.table.columns:
                if not any(name in columns for columns in self.described.values()):
                    raise KeyError(name)
                mine = np.zeros(size, dtype=bool)
            else:
                mine = np.zeros(size, dtype=bool)
                mine[: self.trained] = _has(self.table[name], values)
            for row, columns in self.described.items():
                if name in columns or row >= self.trained:
                    value = columns.get(name)
                    mine[row] = bool(set(value if isinstance(value, list) else [value]) & set(values))
            mask &= mine
        return torch.from_numpy(mask)


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
