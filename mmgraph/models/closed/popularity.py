"""Popularity: everybody gets the same list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.models.base import ALL, Embeddings, People, Rows
from mmgraph.models.closed.base import ClosedForm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Popularity(ClosedForm):
    """Every user gets the most interacted videos: ŷ_uv = number of interactions of v in the graph.

    Args:
        graph: gives V.
    """

    count: Tensor

    def __init__(self, graph: MultimodalGraph) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(graph.num_videos))

    def solve(self, graph: MultimodalGraph) -> None:
        """Counts."""
        self.count.copy_(torch.bincount(graph.interactions()[1], minlength=graph.num_videos))
        self.solved.fill_(True)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, 1] of ones, video [V, 1] of counts."""
        user = self.count.new_ones(graph.num_users if rows.user is None else len(rows.user), 1)
        return Embeddings(user, rows.of_videos(self.count.unsqueeze(1)))

    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The same list for everybody, whatever is known of them."""
        return Embeddings(self.count.new_ones(len(people), 1), self.count.unsqueeze(1))
