"""What models of ordered histories share: next-video training, and the user as the state after the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.histories import Histories, HistoryBatch, HistorySampler
from mmgraph.models.base import Embeddings, Recommender, Rows
from mmgraph.nn.heads import Head
from mmgraph.nn.softmax import sampled_cross_entropy, softmax_cross_entropy
from mmgraph.nn.temporal import TemporalLayer

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

STEPS = 65_536  # padded steps encoded at once by `in_blocks`


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Within it no ``nn.Dropout`` of the module acts: what is ranked is never random."""
    active = [m for m in module.modules() if isinstance(m, nn.Dropout) and m.training]
    for m in active:
        m.training = False
    try:
        yield
    finally:
        for m in active:
            m.training = True


class NextVideoLoss(nn.Module):
    """−ln P(next video | state), softmax over all videos or over a sample with logQ correction.

    The sample is drawn anew each step, shared by the rows, from q_v ∝ (training count of v + 1)^``power``.

    Args:
        graph: gives the counts.
        negatives: sampled videos a step; None for the full softmax.
        power: 0 is uniform, 1 popularity.
    """

    share: Tensor

    def __init__(self, graph: MultimodalGraph, negatives: int | None = None, power: float = 0.5) -> None:
        super().__init__()
        if negatives is not None and negatives < 1:
            raise ValueError(f"negatives must be at least 1, or None for the full softmax; got {negatives}")
        self.negatives = negatives
        count = torch.bincount(graph.interactions()[1], minlength=graph.num_videos).double() + 1
        self.register_buffer("share", (count**power / (count**power).sum()).float(), persistent=False)

    def forward(self, state: Tensor, table: Tensor, target: Tensor) -> Tensor:
        """Mean loss of states [N, D] whose next videos are rows ``target`` [N] of ``table`` [V, D]."""
        if self.negatives is None:
            return softmax_cross_entropy(state, table, target)
        negative = torch.multinomial(self.share, self.negatives, replacement=True)
        return sampled_cross_entropy(state, table, target, negative, (self.share[negative] * self.negatives).log())


class Sequential(Recommender):
    """A recommender whose user is the state of a temporal layer after the user's events in the graph.

    Steps are embeddings of videos, √D E_v (as SASRec and the Transformer scale them), the layer makes the state s,
    ŷ_v = sᵀ E_v with the same table. Training: next video at every step, softmax over all videos (``negatives=None``)
    or a sample with logQ correction. A user without events gets 0, and so ties between all videos.

    ``encode`` reads the whole history in the graph it is given: rank test on the graph that holds valid.
    It never drops out, also in training mode; the loss does.

    Args:
        graph: gives U, V and the counts.
        layer: a causal temporal layer of width ``embedding_dim``.
        embedding_dim: D.
        max_len: the most recent events read.
        negatives: sampled negatives a step, None for the full softmax.
        power: of the sample, see :class:`NextVideoLoss`.
        head: a head other than the dot product, at ranking; training uses the dot product.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        layer: TemporalLayer,
        *,
        embedding_dim: int = 64,
        max_len: int = 50,
        negatives: int | None = None,
        power: float = 0.5,
        head: Head | None = None,
    ) -> None:
        super().__init__(head)
        self.max_len, self.scale = max_len, embedding_dim**0.5
        self.video = nn.Parameter(torch.empty(graph.num_videos, embedding_dim))
        nn.init.normal_(self.video, std=0.02)
        self.layer = layer
        self.next_video = NextVideoLoss(graph, negatives, power)

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """State of each user after the events in the graph [U, D], and the table of videos [V, D], or rows of them."""
        past = graph.histories(max_len=self.max_len, users=None if rows is None else rows.user)
        with without_dropout(self):
            user = in_blocks(past, lambda p, _: self.layer(self._steps(p.video), p.mask, p.time))
        return Embeddings(user, self.video if rows is None else self.video[rows.video])

    def _steps(self, video: Tensor) -> Tensor:
        return F.embedding(video.clamp_min(0), self.video) * self.scale

    def loss(self, graph: MultimodalGraph, batch: HistoryBatch) -> dict[str, Tensor]:
        """``softmax``: mean over the batch's targets of −ln P(next video)."""
        states = self.layer.states(self._steps(batch.video), batch.mask, batch.time)
        wanted = batch.target >= 0
        return {"softmax": self.next_video(states[wanted], self.video, batch.target[wanted])}

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> HistorySampler:
        """Whole histories with a target at every step; ``batch_size`` counts targets."""
        return HistorySampler(graph, batch_size, self.max_len)


def in_blocks(past: Histories, encode: Callable[[Histories, Tensor], Tensor]) -> Tensor:
    """Encodes histories in blocks of similar length, so that little is padding; rows come back in their order.

    Args:
        past: B histories.
        encode: (histories, rows [b] of ``past``) -> [b, D].
    """
    order = past.length.argsort(descending=True)
    parts, start = [], 0
    while start < len(order):
        longest = max(int(past.length[order[start]]), 1)
        rows = order[start : start + max(STEPS // longest, 1)]
        video, mask, time = (t[rows, :longest] for t in (past.video, past.mask, past.time))
        parts.append(encode(Histories(video, mask, time, past.length[rows]), rows))
        start += len(rows)
    return torch.cat(parts)[order.argsort()]
