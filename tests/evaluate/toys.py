"""Graphs and models that hold nothing but what a ranking reads."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from mmgraph.models import Embeddings, Recommender
from mmgraph.ops import CSR


@dataclass
class ToyGraph:
    """What evaluation needs of a graph."""

    seen: CSR

    @property
    def num_users(self) -> int:
        return self.seen.shape[0]

    @property
    def num_videos(self) -> int:
        return self.seen.shape[1]


class Table(Recommender):
    """Scores read from a table [U, V]."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(scores.clone(), requires_grad=scores.is_floating_point())
        self.modes: list[bool] = []

    def encode(self, graph, rows=None) -> Embeddings:
        self.modes.append(self.training)
        return Embeddings(torch.arange(len(self.table))[:, None], torch.arange(self.table.shape[1])[:, None])

    def score(self, emb, users, videos=None) -> Tensor:
        return self.table[users] if videos is None else self.table[users].gather(1, videos)


def csr(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> CSR:
    rows = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return CSR.from_edges(rows[:, 0], rows[:, 1], shape)


def toy(scores: list[list[float]], seen: list[tuple[int, int]], targets: list[tuple[int, int]]):
    table = torch.tensor(scores, dtype=torch.float32)
    frame = pl.DataFrame(targets, schema={"user": pl.Int64, "video": pl.Int64}, orient="row")
    return Table(table), ToyGraph(csr(seen, tuple(table.shape))), frame
