"""Hybrid: what co-watching says of known videos and what content says of all, on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.models.base import ALL, Embeddings, People, Rows, pad_rows
from mmgraph.models.closed.itemknn import ItemKNN
from mmgraph.models.closed.linear import LinearItemModel, clicks_of, interaction_matrix
from mmgraph.models.cold.content_mean import ContentMean
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Hybrid(LinearItemModel):
    """Where to start: ItemKNN and the content mean, added on one scale, with a gate by what is known of each video.

    ŷ_uv = z(c_uv) + β γ_v z(k_uv) + b (1 − γ_v),  γ_v = d_v / (d_v + κ),  c the cosine of v's content with the user's
    watched content (:class:`ContentMean`), k the sum of v's similarities to the watched (:class:`ItemKNN`), z(·) a
    user's scores less their mean over their deviation, of k over the videos that somebody watched. A video nobody has
    watched has γ = 0: it competes in the same list by its content and b, neither shut out by scores it cannot have nor
    put first by a scale of its own.

    Nothing is trained; people who came after, and videos added by ``graph.with_videos``, are ranked at once. β, κ and b
    are worth choosing on valid by the one list a person gets. For catalogues up to some 100,000 videos: all of a user's
    scores are formed.

    Args:
        graph: gives V and the features' widths.
        modalities: which; all of the graph's by default.
        weights: modality -> factor on its content.
        collaborative: β.
        known: κ, interactions at which a video's gate is half open.
        novelty: b.
        k, shrink: of ItemKNN.
    """

    degree: Tensor

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        modalities: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        collaborative: float = 0.4,
        known: float = 10.0,
        novelty: float = 0.4,
        k: int = 100,
        shrink: float = 0.0,
    ) -> None:
        super().__init__(graph)
        self.collaborative, self.known, self.novelty = collaborative, known, novelty
        self.content = ContentMean(graph, modalities=modalities, weights=weights)
        self.neighbours = ItemKNN(graph, k=k, shrink=shrink)
        self.register_buffer("degree", torch.zeros(graph.num_videos))

    def solve(self, graph: MultimodalGraph) -> None:
        """Both sides, and how often each video was watched."""
        self.content.solve(graph)
        self.neighbours.solve(graph)
        self.degree.copy_(graph.seen.transpose().degree())
        self.solved.fill_(True)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user: X, CSR [U, V] (or rows of it, dense); video: content, unit rows [V, ΣD_m] and the gate γ."""
        content = self.content.encode(graph).video
        degree = pad_rows(self.degree.unsqueeze(1), graph.num_videos)
        video = torch.cat([content, degree / (degree + self.known)], 1)
        clicks = interaction_matrix(graph)
        user = clicks if rows.user is None else clicks.select(rows.user)[0].dense()
        return Embeddings(user, rows.of_videos(video))  # type: ignore[arg-type]

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The clicks themselves are the row: exact, the scores of a known user of these clicks.

        Raises:
            ValueError: no clicks.
        """
        if (clicks := people.click_matrix(graph.num_videos)) is None:
            raise ValueError("Hybrid reads clicks: a profile alone is not enough")
        video = self.encode(graph).video
        return Embeddings(clicks.dense().clamp(max=1.0).to(video), video)

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """[B, V], or its columns ``videos`` [B, N]."""
        content, gate = emb.video[:, :-1], emb.video[:, -1]
        clicks = clicks_of(emb, users).to(content)
        watched = F.normalize(clicks @ content, dim=1) @ content.T
        matrix = self.neighbours.videos()
        together = spmm(matrix, clicks[:, : matrix.shape[0]].T.contiguous()).T
        together = F.pad(together, (0, len(gate) - together.shape[1]))
        scores = _scaled(watched, torch.ones_like(gate)) + self.collaborative * gate * _scaled(together, gate > 0)
        scores = scores + self.novelty * (1 - gate)
        return scores if videos is None else scores.gather(1, videos)


def _scaled(scores: Tensor, among: Tensor) -> Tensor:
    """(s − mean)/deviation of each row, both over the columns ``among`` [V]; 0 in a row that does not vary there."""
    weight = among.to(scores)
    count = weight.sum().clamp_min(1)
    centred = scores - (scores @ weight).unsqueeze(1) / count
    spread = ((centred.square() @ weight) / count).sqrt().unsqueeze(1)
    return torch.where(spread > 1e-6, centred / spread.clamp_min(1e-6), 0.0)
