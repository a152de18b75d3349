"""Mult-VAE: a variational autoencoder of whole interaction rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import RowBatch, RowSampler, Sampler
from mmgraph.losses import multinomial_nll
from mmgraph.models.base import ALL, Embeddings, Rows
from mmgraph.models.clicks import ReadsClicks
from mmgraph.nn.heads import VAEHead
from mmgraph.nn.tables import xavier_table
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class MultVAE(ReadsClicks):
    """Mult-VAE: a variational autoencoder of whole interaction rows with a multinomial likelihood.

    Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, https://arxiv.org/abs/1802.05814.
    h = tanh(W_1 x̃ + b_1), x̃ the user's row of zeros and ones, divided by its length √n and, in training, dropped out;
    q(z | x) = N(μ(h), σ²(h));  π = softmax(W_4 tanh(W_3 z + b_3) + b_4);  loss −Σ x ln π + β(t) KL(q ‖ N(0, I)), β(t)
    rising from 0 to ``beta`` over ``anneal_steps`` batches (V–600–200–600–V in the paper). Ranks with z = μ.

    In the terms of this library: h is the user embedding, the rows of [W_4 ‖ b_4] are the video embeddings, and the
    rest is a :class:`~mmgraph.nn.VAEHead`. The paper's 200,000 steps lead to β = 1 and are cut off at .2, so after
    40,000 batches of ML-20M; on small sets set ``anneal_steps`` to about a fifth of the batches you train. Its weight
    decay is ``FitConfig.weight_decay``.

    Args:
        graph: gives V.
        embedding_dim: width of z.
        hidden: width of h.
        dropout: share of the input row dropped.
        beta: last β.
        anneal_steps: batches over which β rises.
    """

    head: VAEHead

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 200,
        hidden: int = 600,
        dropout: float = 0.5,
        beta: float = 0.2,
        anneal_steps: int = 40_000,
    ) -> None:
        head = VAEHead(hidden, latent_dim=embedding_dim, decoder=True, beta=beta, anneal_steps=anneal_steps, bias=True)
        super().__init__(head)
        self.dropout = dropout
        self.weight = xavier_table(graph.num_videos, hidden)
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(hidden), std=0.001))
        self.video = xavier_table(graph.num_videos, hidden)
        self.video_bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(graph.num_videos, 1), std=0.001))

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user: h [U, hidden] of whole rows, without dropout; video: [W_4 ‖ b_4] [V, hidden + 1]."""
        video = torch.cat([self.video, self.video_bias], 1)
        return Embeddings(self._hidden(graph.seen, rows.user), rows.of_videos(video))

    def _hidden(self, clicks: CSR, rows: Tensor | None = None) -> Tensor:
        """h of rows of clicks [n, V]."""
        length = clicks.degree().to(self.weight.dtype).clamp_min(1).rsqrt()
        length = length if rows is None else length[rows]
        return torch.tanh(spmm(clicks, self.weight, rows=rows) * length.unsqueeze(1) + self.bias)

    def of_clicks(self, graph: MultimodalGraph, clicks: CSR) -> Embeddings:
        """The encoder reads the clicks of people it has never seen as it reads anybody's."""
        return Embeddings(self._hidden(clicks), self.encode(graph).video)

    def loss(self, graph: MultimodalGraph, batch: RowBatch) -> dict[str, Tensor]:
        """``nll`` and ``kl``: together the negative β-ELBO."""
        dropped = F.dropout(F.normalize(batch.row, dim=1), self.dropout, self.training)
        row, col = dropped.nonzero(as_tuple=True)  # a few in thousands: neither pass needs the dense product
        kept = CSR.from_edges(row, col, tuple(dropped.shape), dropped[row, col])  # type: ignore[arg-type]
        user = torch.tanh(spmm(kept, self.weight) + self.bias)
        z, own = self.head.draw(user)
        logits = self.head.compare(z, torch.cat([self.video, self.video_bias], 1))
        return {"nll": multinomial_nll(logits, batch.row), **own}

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """Whole rows."""
        return RowSampler(graph, batch_size)
