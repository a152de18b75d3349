"""A graph model whose user side also reads the order of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgraph.graph.events import Histories
from mmgraph.graph.samplers import HistoryBatch, HistorySampler
from mmgraph.models.base import ALL, Embeddings, People, Recommender, Rows
from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.models.sequential.base import in_blocks, next_video_loss, ordered
from mmgraph.nn import evaluating
from mmgraph.nn.heads import Head
from mmgraph.nn.temporal import CausalTransformer, TemporalLayer
from mmgraph.objectives import FullSoftmax, Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class TemporalGraph(Recommender):
    """Any graph model with any temporal layer as its user side, joined by a learned gate.

    The graph model gives e_u (long-term) and e_v. The layer reads the user's history as the videos' e_v in order and
    gives s_u (recent interest); a layer that asks for a query gets e_u. Then
    g = σ(W [e_u ‖ s_u] + b), user = g ⊙ e_u + (1 − g) ⊙ s_u, ŷ_uv = userᵀ e_v. A user without events has s_u = 0.

    Training predicts the next video by softmax. A causal layer is trained at every step of a history in one pass, any
    other on every prefix of it. Gradients reach the graph model through e_u, through the steps and through the scores.

    In training e_u is made from all of the user's training edges, the target's own and later ones among them (so are
    the e_v that the steps are made of), while s_u's steps all come before the target: the gate would learn to trust e_u
    more than it deserves at test. Train with the epoch transform ``EdgeDrop`` so that many targets are missing from the
    graph that e_u is made from; ``long_dropout`` hides e_u altogether at random.

    Args:
        graph: gives U, V and the counts.
        propagation: a graph model, or what makes one from the graph (``partial(LightGCN, num_layers=2)``); LightGCN
            of ``embedding_dim`` with ``num_layers`` by default.
        temporal: a temporal layer of the graph model's width, or what makes one from that width;
            :class:`~mmgraph.nn.temporal.CausalTransformer` with dropout 0.5 by default.
        embedding_dim, num_layers: of the default graph model; ignored when ``propagation`` is given.
        max_len: the most recent events read.
        dropout: on the steps the layer reads, in training.
        long_dropout: chance that an example's gate is closed to e_u in training.
        gate_bias: added to b at the start; below 0 the gate begins on the side of s_u.
        head: a head other than the dot product.
        objective: one other than the full softmax.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        propagation: Recommender | Callable[[MultimodalGraph], Recommender] | None = None,
        temporal: TemporalLayer | Callable[[int], TemporalLayer] | None = None,
        embedding_dim: int = 64,
        num_layers: int = 2,
        max_len: int = 50,
        dropout: float = 0.0,
        long_dropout: float = 0.0,
        gate_bias: float = 0.0,
        head: Head | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(head, objective or FullSoftmax())
        if propagation is None:
            propagation = LightGCN(graph, embedding_dim=embedding_dim, num_layers=num_layers)
        self.propagation = propagation if isinstance(propagation, Recommender) else propagation(graph)
        dim = self._width(graph)
        if temporal is None:
            temporal = CausalTransformer(dim, dropout=0.5, max_len=max_len)
        self.temporal = temporal if isinstance(temporal, TemporalLayer) else temporal(dim)
        self.gate = nn.Linear(2 * dim, dim)
        self.gate.bias.data += gate_bias
        self.dropout, self.long_dropout, self.max_len = nn.Dropout(dropout), long_dropout, max_len
        self.scale = dim**0.5

    @torch.no_grad()
    def _width(self, graph: MultimodalGraph) -> int:
        one = torch.zeros(1, dtype=torch.int64)
        return self.propagation.encode(graph, Rows(one, one)).video.shape[1]

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """Gated users [U, D] and the graph model's videos [V, D], or rows of them; never with dropout."""
        emb = evaluating(self).propagation.encode(graph)
        past = graph.histories(max_len=self.max_len, users=rows.user)
        return Embeddings(self._gated(past, rows.of_users(emb.user), emb.video), rows.of_videos(emb.video))

    def _gated(self, past: Histories, long: Tensor, video: Tensor) -> Tensor:
        twin = evaluating(self)

        def join(p: Histories, at: Tensor) -> Tensor:
            return twin.join(long[at], twin.temporal(twin._steps(video, p.video), p.mask, p.time, long[at]))

        return in_blocks(past, join)

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """e_u as the graph model folds people in, s_u after their histories, joined by the gate.

        Raises:
            ValueError: no histories.
        """
        past = ordered(people, self)
        emb = self.propagation.fold_in(graph, people)
        return Embeddings(self._gated(past, emb.user, emb.video), emb.video)

    def join(self, long: Tensor, short: Tensor, closed: Tensor | None = None) -> Tensor:
        """g ⊙ long + (1 − g) ⊙ short, [B, D]; where ``closed`` [B, 1] is True, g = 0."""
        gate = self.gate(torch.cat([long, short], -1)).sigmoid()
        if closed is not None:
            gate = gate.masked_fill(closed, 0)
        return gate * long + (1 - gate) * short

    def _steps(self, table: Tensor, video: Tensor) -> Tensor:
        return self.dropout(nn.functional.embedding(video.clamp_min(0), table) * self.scale)

    def loss(self, graph: MultimodalGraph, batch: HistoryBatch) -> dict[str, Tensor]:
        """The objective's terms (``softmax``), a mean over the batch's targets."""
        emb = self.propagation.encode(graph)
        steps = self._steps(emb.video, batch.video)
        wanted = batch.target >= 0
        if self.temporal.has_states:
            short = self.temporal.states(steps, batch.mask, batch.time)[wanted]
        else:
            short = self.temporal(steps, batch.mask, batch.time, emb.user[batch.user])
        long = emb.user[batch.user.repeat_interleave(wanted.sum(1))]
        closed = None
        if self.long_dropout:
            closed = torch.rand(len(long), 1, device=long.device) < self.long_dropout
        return next_video_loss(self, graph, batch, self.join(long, short, closed), emb.video)

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> HistorySampler:
        """Whole histories for a causal layer, every prefix for another; ``batch_size`` counts targets."""
        prefixes = not self.temporal.has_states
        return HistorySampler(graph, batch_size, self.max_len, prefixes, self.objective.draws)
