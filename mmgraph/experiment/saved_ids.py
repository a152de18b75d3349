"""Raw ids, titles and entities as tables, and the dataset that they make together with a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import torch
from torch import Tensor

from mmgraph.data.dataset import Dataset, Entities
from mmgraph.data.errors import Source
from mmgraph.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


def video_table(dataset: Dataset) -> pl.DataFrame:
    """Raw ids, the text, whole-number and true-or-false columns of videos, and entities as lists of text."""
    out = {"id": dataset.video_ids.ids}
    for name in dataset.videos.columns[1:]:
        column = dataset.videos[name]
        if name != "id" and (column.dtype in (pl.String, pl.Boolean) or column.dtype.is_integer()):
            out[name] = column
    for name, entity in dataset.entities.items():
        if name not in out:
            lists: list[list[str]] = [[] for _ in range(dataset.num_videos)]
            raw = [str(value) for value in entity.ids.ids]
            for video, row in entity.edges.T.tolist():
                lists[video].append(raw[row])
            out[name] = pl.Series(lists, dtype=pl.List(pl.String))
    return pl.DataFrame(out)


def _entities(lists: pl.Series) -> Entities:
    """From a column of lists."""
    pairs = pl.DataFrame({"video": range(len(lists)), "entity": lists}).explode("entity").drop_nulls()
    ids, rows = Vocabulary.factorise(pairs["entity"], Source())
    return Entities(ids, torch.stack([torch.tensor(pairs["video"].to_numpy()), torch.tensor(rows)]))


def dataset_of(
    name: str, users: pl.DataFrame, videos: pl.DataFrame, graph: MultimodalGraph, extra: Tensor | None
) -> Dataset:
    """The dataset of what :func:`video_table` made and of the users' raw ids.

    Args:
        name: its name.
        users: ``id`` in row order.
        videos: as :func:`video_table` made it.
        graph: whose interactions are its own,
        extra: unless these pairs [2, E] are.
    """
    store = graph["user", "interacts", "video"]
    pairs = store.edge_index if extra is None else extra
    columns = {"user": pairs[0].numpy(), "video": pairs[1].numpy()}
    if extra is None and "time" in store:
        columns["time"] = store.time.numpy()
    lists = [name for name in videos.columns if isinstance(videos[name].dtype, pl.List)]
    return Dataset(
        name=name,
        user_ids=Vocabulary(users["id"]),
        video_ids=Vocabulary(videos["id"]),
        interactions=pl.DataFrame(columns),
        users=users.rename({"id": "user_id"}),
        videos=videos.drop(lists).rename({"id": "video_id"}),
        entities={name: _entities(videos[name]) for name in lists},
    )
