"""Protocols that divide all interactions at once: by the moment, or by the video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmgraph.data.dataset import Dataset
from mmgraph.data.split.protocol import SeenAtTest
from mmgraph.data.split.queues import check_dataset, check_seed, order_column, sum_to_one
from mmgraph.data.split.sealed import Repeats, Split


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
    check_dataset(dataset)
    shares = sum_to_one(ratios)
    order_column(dataset, "time")
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
    check_dataset(dataset)
    shares, seed = sum_to_one(ratios), check_seed(seed)
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
