"""The ceiling of a world: what its users truly want, which only a generator knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.data.synthetic import World, read_world
from mmgraph.models import ALL, Embeddings, Recommender, Rows

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

LATE = 0.95  # of the world's time: the middle of what the test holds


class TruePreference(Recommender):
    """The ceiling of a world: scores are the users' true preference at one moment, which only a world knows.

    Args:
        graph: gives nothing but its size.
        scores: [U, V], rows as in the dataset.
    """

    closed_form = True
    scores: Tensor

    def __init__(self, graph: MultimodalGraph, *, scores: Tensor) -> None:
        super().__init__()
        if scores.shape != (graph.num_users, graph.num_videos):
            raise ValueError(f"scores {tuple(scores.shape)}: the graph has {graph.num_users} x {graph.num_videos}")
        self.register_buffer("scores", scores.float())

    def solve(self, graph: MultimodalGraph) -> None:
        """Nothing to fit: it is known."""

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, V]: the scores; video [V, 1]: the column of each video among them."""
        columns = torch.arange(self.scores.shape[1], dtype=torch.float32).unsqueeze(1)
        return rows.of(self.scores, columns)

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """[B, V], or [B, N] for given videos."""
        rows = emb.user[users]
        columns = emb.video[:, 0].long()
        return rows[:, columns] if videos is None else rows.gather(1, columns[videos])


class WorldPreference(TruePreference):
    """:class:`TruePreference` of the world that was written to a folder, late in it.

    Args:
        graph: of that folder's data, so that its rows are the world's.
        world: the folder.
    """

    def __init__(self, graph: MultimodalGraph, *, world: str) -> None:
        super().__init__(graph, scores=late_preference(read_world(Path(world))))


def late_preference(world: World) -> Tensor:
    """True preference [U, V] at the time of the test, rows as in the world's tables."""
    moment = world.config.start + LATE * world.config.days * 86_400.0
    return torch.from_numpy(world.true_preference(None, None, moment))
