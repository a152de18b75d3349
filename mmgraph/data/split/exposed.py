"""What was shown, without what a split keeps hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mmgraph.data.dataset import Dataset


def known_exposures(dataset: Dataset, hidden: pl.DataFrame, parameters: Mapping[str, Any]) -> pl.DataFrame | None:
    """The exposures that do not tell of hidden interactions; None where the dataset has none.

    Left out are those marked ``held_out``, those of a hidden (user, video) pair, and, where the protocol follows time,
    those at or after the user's first hidden interaction (``order_by`` time) or the first of all (``cuts``). There, an
    exposure without a time is left out when its user has hidden interactions.
    """
    shown = dataset.exposures
    if shown is None:
        return None
    if "held_out" in shown.columns:
        shown = shown.filter(~pl.col("held_out"))
    shown = shown.join(hidden.select("user", "video").unique(), on=["user", "video"], how="anti", maintain_order="left")
    if "cuts" in parameters:
        first = hidden["time"].min()
        return shown.filter(pl.col("time") < first) if "time" in shown.columns else shown.clear()
    if parameters.get("order_by") != "time":
        return shown
    since = hidden.group_by("user").agg(pl.col("time").min().alias("__since"))
    joined = shown.join(since, on="user", how="left", maintain_order="left")
    before = pl.col("time") < pl.col("__since") if "time" in shown.columns else pl.lit(False)
    return joined.filter(pl.col("__since").is_null() | before.fill_null(False)).drop("__since")
