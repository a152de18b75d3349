"""A model of ten lines, a dataset of 190 pairs and an experiment on them, shared by the tests of experiments."""

from __future__ import annotations

import functools

import polars as pl
import torch

from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.models import Embeddings, Recommender
from mmgraph.train import FitConfig


class Dots(Recommender):
    """Matrix factorisation in ten lines."""

    def __init__(self, graph, *, embedding_dim: int = 4, scale: float = 0.1) -> None:
        super().__init__()
        self.user = torch.nn.Parameter(torch.randn(graph.num_users, embedding_dim) * scale)
        self.video = torch.nn.Parameter(torch.randn(graph.num_videos, embedding_dim) * scale)

    def encode(self, graph, rows=None):
        return Embeddings(self.user, self.video)

    def loss(self, graph, batch):
        user, video = self.user[batch.user], self.video
        margin = (user * (video[batch.positive] - video[batch.negative[:, 0]])).sum(1)
        return {"bpr": torch.nn.functional.softplus(-margin).mean()}


@functools.cache
def world() -> Dataset:
    pairs = [(u, v) for u in range(20) for v in range(24) if (u + v) % 2 == 0 and (u * 7 + v * 3) % 5]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
    return Dataset.from_frames(frame, name="toy")


def toy_split():
    return random_split(world(), seed=0)


def toy(**changes) -> Experiment:
    base = {
        "name": "dots",
        "split": toy_split,
        "model": Dots,
        "fit": FitConfig(epochs=3, batch_size=64, learning_rate=0.05, monitor="recall@5"),
        "evaluate": EvalConfig(k=(5, 10)),
        "seeds": (0, 1),
    }
    return Experiment(**base | changes)
