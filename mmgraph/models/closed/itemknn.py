"""ItemKNN: the videos most like those a user watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.models.base import Embeddings
from mmgraph.models.closed.linear import LinearItemModel, clicks_of, interaction_matrix
from mmgraph.ops import CSR, gram_blocks, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

BLOCK = 2**24  # similarities formed at once: 64 MiB


class ItemKNN(LinearItemModel):
    """Item-based nearest neighbours: ŷ_uv = Σ_{j∈u} s_vj over the ``k`` videos j most similar to v.

    Sarwar et al., WWW 2001, https://doi.org/10.1145/371920.372071; cosine with shrinkage,
    s_ij = |U_i ∩ U_j| / (sqrt(|U_i||U_j|) + h), and asymmetric weighting α as in Aiolli, RecSys 2013
    (|U_i|^α |U_j|^(1−α) in place of the square root; α = ½ is the cosine). Kept sparse: V · k similarities.

    Args:
        graph: gives V.
        k: neighbours kept for each video.
        shrink: h ≥ 0.
        alpha: as above.
    """

    neighbour: Tensor
    similarity: Tensor

    def __init__(self, graph: MultimodalGraph, *, k: int = 100, shrink: float = 0.0, alpha: float = 0.5) -> None:
        super().__init__(graph)
        self.k, self.shrink, self.alpha = k, shrink, alpha
        width = min(k, graph.num_videos)
        self.register_buffer("neighbour", torch.zeros(graph.num_videos, width, dtype=torch.int64))
        self.register_buffer("similarity", torch.zeros(graph.num_videos, width))

    def solve(self, graph: MultimodalGraph) -> None:
        """Co-counts, similarities and the k best of each video, a block of videos at a time."""
        clicks = interaction_matrix(graph)
        degree = clicks.transpose().degree().float()
        for at, block in gram_blocks(clicks, rows=max(1, BLOCK // max(graph.num_videos, 1))):
            gram = block.dense()
            gram.diagonal(at.start).zero_()
            scale = degree[at, None].pow(self.alpha) * degree[None].pow(1 - self.alpha) + self.shrink
            best = (gram / scale.clamp_min(1e-12)).topk(self.neighbour.shape[1], dim=1)
            self.neighbour[at], self.similarity[at] = best.indices.to(self.neighbour), best.values.to(self.similarity)
        self.solved.fill_(True)

    def videos(self) -> CSR:
        """Wᵀ, row v the similarities of v's neighbours: CSR [V, V]."""
        count, width = self.neighbour.shape
        row = torch.arange(count, device=self.neighbour.device).repeat_interleave(width)
        return CSR.from_edges(row, self.neighbour.flatten(), (count, count), self.similarity.flatten())

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """X[users] W, [B, V], or its columns ``videos`` [B, N]."""
        scores = spmm(emb.video, clicks_of(emb, users).T.contiguous()).T  # type: ignore[arg-type]
        return scores if videos is None else scores.gather(1, videos)
