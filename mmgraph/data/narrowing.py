"""A dataset with fewer users and videos: which remain in a k-core, and everything else brought to their rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from mmgraph.data.attached import Entities
from mmgraph.data.vocabulary import Vocabulary, as_tensor

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset


class Core(NamedTuple):
    """What is left: interactions [E] bool, and the rows of users and videos, ascending."""

    alive: NDArray[np.bool_]
    users: NDArray[np.int64]
    videos: NDArray[np.int64]


def core(user: NDArray[np.int64], video: NDArray[np.int64], sizes: tuple[int, int], needs: tuple[int, int]) -> Core:
    """Drops users and videos of too few interactions until all have enough.

    Args:
        user, video: [E] rows.
        sizes: U and V.
        needs: how many a user and a video must have.
    """
    (num_users, num_videos), (need_users, need_videos) = sizes, needs
    of_user = np.bincount(user, minlength=num_users)
    of_video = np.bincount(video, minlength=num_videos)
    alive = np.ones(len(user), dtype=bool)
    low_user, low_video = of_user < need_users, of_video < need_videos
    while low_user.any() or low_video.any():
        # rows that leave now; few after the first round, so counts are lowered, not counted again
        gone = np.flatnonzero((low_user[user] | low_video[video]) & alive)
        alive[gone] = False
        of_user -= np.bincount(user[gone], minlength=num_users)
        of_video -= np.bincount(video[gone], minlength=num_videos)
        low_user, low_video = (of_user < need_users) & (of_user > 0), (of_video < need_videos) & (of_video > 0)
    users = np.flatnonzero(of_user >= need_users)
    videos = np.flatnonzero(of_video >= need_videos)
    return Core(alive, users, videos)


def taken(dataset: Dataset, users: NDArray[np.int64], videos: NDArray[np.int64], interactions: pl.DataFrame) -> Dataset:
    """Only these user and video rows; ``interactions`` still counts in the old rows, all of which are kept."""
    if len(users) == dataset.num_users and len(videos) == dataset.num_videos:
        return replace(dataset, interactions=interactions)
    new_user, new_video = np.full(dataset.num_users, -1), np.full(dataset.num_videos, -1)
    new_user[users], new_video[videos] = np.arange(len(users)), np.arange(len(videos))
    entities = {}
    for key, entity in dataset.entities.items():
        edge_video, edge_entity = entity.edges.numpy()
        keep = new_video[edge_video] >= 0
        left, rows = np.unique(edge_entity[keep], return_inverse=True)
        entities[key] = Entities(
            Vocabulary(entity.ids.ids.gather(left)), as_tensor(np.stack([new_video[edge_video[keep]], rows]))
        )
    return replace(
        dataset,
        user_ids=Vocabulary(dataset.user_ids.ids.gather(users)),
        video_ids=Vocabulary(dataset.video_ids.ids.gather(videos)),
        interactions=interactions.with_columns(
            user=pl.Series(new_user[interactions["user"].to_numpy()]),
            video=pl.Series(new_video[interactions["video"].to_numpy()]),
        ),
        users=dataset.users[users],
        videos=dataset.videos[videos],
        exposures=None if dataset.exposures is None else _kept(dataset.exposures, new_user, new_video),
        features={m: f.take(videos) for m, f in dataset.features.items()},
        user_features=None if dataset.user_features is None else dataset.user_features[torch.from_numpy(users)],
        media={kind: [files[v] for v in videos] for kind, files in dataset.media.items()},
        entities=entities,
    )


def _kept(exposures: pl.DataFrame, new_user: NDArray[np.int64], new_video: NDArray[np.int64]) -> pl.DataFrame:
    """The exposures whose user and video are still there, in the new rows."""
    user, video = new_user[exposures["user"].to_numpy()], new_video[exposures["video"].to_numpy()]
    renamed = exposures.with_columns(user=pl.Series(user), video=pl.Series(video))
    return renamed.filter((pl.col("user") >= 0) & (pl.col("video") >= 0))
