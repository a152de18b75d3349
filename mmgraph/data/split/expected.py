"""The right kind of thing at the door: a Split where one is needed."""

from __future__ import annotations

from typing import Any

from mmgraph.data.dataset import Dataset
from mmgraph.data.split.sealed import Split


def expect_split(value: Any, taker: str) -> None:
    """Refuses what is no Split.

    Raises:
        TypeError: naming what takes it, what it got and how to make one.
    """
    if not isinstance(value, Split):
        fix = f"split it first, as {taker}(global_time_split(dataset))" if isinstance(value, Dataset) else _SPLIT
        raise TypeError(f"{taker} takes a Split, got {_kind(value)}: {fix}")


_SPLIT = "make one of a dataset, as global_time_split(dataset)"


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
