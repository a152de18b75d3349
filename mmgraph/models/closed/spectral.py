"""What training-free spectral filters share: a user's clicks are a signal on the graph of videos, and are smoothed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.models.base import Embeddings
from mmgraph.models.closed.linear import LinearItemModel, clicks_of
from mmgraph.nn.spectral import ItemGram

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class SpectralFilter(LinearItemModel):
    """ŷ_u = x_u F, F a function of the normalised video–video operator; nothing is trained.

    Scores of people who came after training are exact too (:meth:`fold_in`): their clicks are a signal like any other.

    Args:
        graph: gives sizes.
        gram: the operator, and its eigenvectors where the filter reads them.
    """

    def __init__(self, graph: MultimodalGraph, gram: ItemGram) -> None:
        super().__init__(graph)
        self.gram = gram

    def solve(self, graph: MultimodalGraph) -> None:
        """Takes the interactions and, where the filter reads them, the leading eigenvectors."""
        self.gram.solve(graph)
        self.solved.fill_(True)

    def filter(self, signal: Tensor) -> Tensor:
        """Scores [V, B] of users whose clicks are the columns of ``signal`` [V, B]."""
        raise NotImplementedError(f"{type(self).__name__} has no filter()")

    def videos(self) -> Tensor:
        """What the filter knows of each video, [V, 1 + rank]: its scale and its place on the eigenvectors."""
        return torch.cat([self.gram.video_scale.unsqueeze(1), self.gram.basis], 1)

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """x F of users, [B, V], or its columns ``videos`` [B, N]."""
        scores = self.filter(clicks_of(emb, users).T.to(self.gram.video_scale)).T
        return scores if videos is None else scores.gather(1, videos)
