"""What models share that make a user's row out of what the user clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmgraph.graph.samplers import PairBatch
from mmgraph.models.base import Embeddings, People, Recommender, Rows
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class ReadsClicks(Recommender):
    """A recommender for which clicks are enough: people who came after training have a row as anybody has."""

    def of_clicks(self, graph: MultimodalGraph, clicks: CSR) -> Embeddings:
        """Rows of the people [n, D] whose clicks are the rows of a CSR [n, V], and of all videos."""
        raise NotImplementedError(f"{type(self).__name__} has no of_clicks()")

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """What the clicks of people make of them (:meth:`of_clicks`).

        Raises:
            ValueError: no clicks.
        """
        return self.of_clicks(graph, people.clicks_for(self, graph.num_videos))


def row_a_pair(batch: PairBatch, rows: Rows, at: PairBatch) -> tuple[Rows, PairBatch]:
    """The rows and the batch where each pair has a user row of its own: a profile that leaves out the pair's video."""
    each = torch.arange(len(batch.user), device=batch.user.device)
    return Rows(batch.user, rows.video), at._replace(user=each)
