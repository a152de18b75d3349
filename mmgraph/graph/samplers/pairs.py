"""Pairs of a user and a video they chose, with negatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from mmgraph.graph.samplers.base import Draws, PairBatch, epoch_generator
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class PairSampler:
    """Every training pair once an epoch, in random order, each with sampled videos.

    Training pairs are those of the graph it is made from. With negatives of a pair's own, the pairs of a user who has
    an edge to every video are left out: there is nothing to set them against.

    Args:
        graph: gives the pairs; U, V.
        batch_size: B; the last batch may be smaller.
        draws: the negatives; an int N is ``Draws(N)``, 0 is none.

    Raises:
        TypeError, ValueError: a batch size below 1, draws that are neither Draws nor a number of them.
    """

    def __init__(self, graph: MultimodalGraph, batch_size: int, draws: Draws | int = 1) -> None:
        checks.count(batch_size, "batch_size")
        self.graph, self.batch_size = graph, batch_size
        self.draws = draws if isinstance(draws, Draws) else Draws(checks.count(draws, "draws", 0))
        self.user, self.video = graph.interactions()
        #: [E] int64, the place of each training pair among the graph's interactions.
        self.edge = torch.arange(len(self.user), device=self.user.device)
        if self.draws.count and not self.draws.shared:
            self.edge = self.edge[~saturated(graph)[self.user]]

    def __len__(self) -> int:
        return -(-len(self.edge) // self.batch_size)

    def epoch(self, seed: int, epoch: int) -> Iterator[PairBatch]:
        """Batches of pairs, in an order and with negatives that depend on (seed, epoch) alone."""
        generator = epoch_generator(seed, epoch)
        order = torch.randperm(len(self.edge), generator=generator).to(self.edge.device)
        for edge in self.edge[order].split(self.batch_size):
            user = self.user[edge]
            yield PairBatch(user, self.video[edge], self.draws.of(self.graph, user, generator))


def saturated(graph: MultimodalGraph) -> torch.Tensor:
    """Users with an edge to every video, bool [U]."""
    user, video = graph.interactions()
    distinct = torch.unique(user * graph.num_videos + video) // max(graph.num_videos, 1)
    return torch.bincount(distinct, minlength=graph.num_users) >= graph.num_videos
