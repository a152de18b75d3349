"""What models of ordered histories share: next-video training, and the user as the state after the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.events import Histories
from mmgraph.graph.samplers import HistoryBatch, HistorySampler, PairBatch
from mmgraph.models.base import ALL, Embeddings, People, Recommender, Rows
from mmgraph.nn import evaluating
from mmgraph.nn.heads import Head
from mmgraph.nn.temporal import TemporalLayer
from mmgraph.objectives import FullSoftmax, Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

STEPS = 65_536  # padded steps encoded at once by `in_blocks`


class Sequential(Recommender):
    """A recommender whose user is the state of a temporal layer after the user's events in the graph.

    Steps are embeddings of videos, √D E_v (as SASRec and the Transformer scale them), the layer makes the state s,
    ŷ_v = sᵀ E_v with the same table. Training: next video at every step, by default under the softmax over all videos;
    ``SampledSoftmax(negatives=1024, shared=True, log_q=True)`` for large catalogues. A user without events gets 0, and
    so ties between all videos.

    ``encode`` reads the whole history in the graph it is given: rank test on the graph that holds valid.
    It never drops out, also in training mode; the loss does.

    Args:
        graph: gives V.
        layer: a causal temporal layer of width ``embedding_dim``.
        embedding_dim: D.
        max_len: the most recent events read.
        head: a head other than the dot product.
        objective: one other than the full softmax.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        layer: TemporalLayer,
        *,
        embedding_dim: int = 64,
        max_len: int = 50,
        head: Head | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(head, objective or FullSoftmax())
        self.max_len, self.scale = max_len, embedding_dim**0.5
        self.video = nn.Parameter(torch.empty(graph.num_videos, embedding_dim))
        nn.init.normal_(self.video, std=0.02)
        self.layer = layer

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """State of each user after the events in the graph [U, D], and the table of videos [V, D], or rows of them."""
        past = graph.histories(max_len=self.max_len, users=rows.user)
        return Embeddings(self._states(past), rows.of_videos(self.video))

    def _states(self, past: Histories) -> Tensor:
        layer = evaluating(self.layer)  # what is ranked is never random
        return in_blocks(past, lambda p, _: layer(self._steps(p.video), p.mask, p.time))

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The state after histories of people, or sessions, that began after training: exact, as for anybody.

        Raises:
            ValueError: no histories: the order of clicks is what the model reads.
        """
        return Embeddings(self._states(ordered(people, self)), self.video)

    def history_tower(self) -> nn.Module:
        """For a bundle: rows of watched videos [B, T, D], mask and time [B, T] -> users [B, D], as ``encode``."""
        return HistoryTower(evaluating(self.layer), self.scale)

    def _steps(self, video: Tensor) -> Tensor:
        return F.embedding(video.clamp_min(0), self.video) * self.scale

    def loss(self, graph: MultimodalGraph, batch: HistoryBatch) -> dict[str, Tensor]:
        """The objective's terms (``softmax``), a mean over the batch's targets."""
        states = self.layer.states(self._steps(batch.video), batch.mask, batch.time)[batch.target >= 0]
        return next_video_loss(self, graph, batch, states, self.video)

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> HistorySampler:
        """Whole histories with a target at every step; ``batch_size`` counts targets."""
        return HistorySampler(graph, batch_size, self.max_len, draws=self.objective.draws)


class HistoryTower(nn.Module):
    """A temporal layer over rows that are given, in place of a table of its own.

    Args:
        layer: of the model.
        scale: of the rows.
    """

    def __init__(self, layer: TemporalLayer, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale

    def forward(self, videos: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        """[B, D] of videos [B, T, D], oldest first, padding last."""
        return self.layer(videos * self.scale, mask, time)


def next_video_loss(
    model: Recommender, graph: MultimodalGraph, batch: HistoryBatch, states: Tensor, video: Tensor
) -> dict[str, Tensor]:
    """The objective's terms on states [targets, D], each before a target, against the videos [V, D]."""
    wanted = batch.target >= 0
    each = torch.arange(len(states), device=states.device)
    rows = Rows(batch.user.repeat_interleave(wanted.sum(1)))
    return model.ranking_loss(
        graph, Embeddings(states, video), rows, PairBatch(each, batch.target[wanted], batch.negative)
    )


def ordered(people: People, model: Recommender) -> Histories:
    """The histories of people.

    Raises:
        ValueError: only clicks without an order, or a profile, are known.
    """
    if people.histories is None:
        raise ValueError(f"{type(model).__name__} reads clicks in order: give People(histories=…), not a set of clicks")
    len(people)
    return people.histories


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
