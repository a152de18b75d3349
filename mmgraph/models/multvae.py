"""Mult-VAE, and its variational graph form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import RowBatch, RowSampler, Sampler
from mmgraph.losses import kl_gaussian, multinomial_nll
from mmgraph.models.base import Embeddings, Recommender, Rows
from mmgraph.models.lightgcn import LightGCN
from mmgraph.nn.heads import VAEHead
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class MultVAE(Recommender):
    """Mult-VAE: a variational autoencoder of whole interaction rows with a multinomial likelihood.

    Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, https://arxiv.org/abs/1802.05814.
    h = tanh(W_1 x̃ + b_1), x̃ the user's row of zeros and ones, divided by its length √n and, in training, dropped out;
    q(z | x) = N(μ(h), σ²(h));  π = softmax(W_4 tanh(W_3 z + b_3) + b_4);  loss −Σ x ln π + β(t) KL(q ‖ N(0, I)), β(t)
    rising from 0 to ``beta`` over ``anneal_steps`` batches (V–600–200–600–V in the paper). Ranks with z = μ.

    In the terms of this library: h is the user embedding, the rows of [W_4 ‖ b_4] are the video embeddings, and the
    rest is a :class:`~mmgraph.nn.VAEHead`. The paper's 200,000 steps are for ML-20M; on small sets set
    ``anneal_steps`` to about a fifth of the batches you train. Its weight decay is ``FitConfig.weight_decay``.

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
        anneal_steps: int = 200_000,
    ) -> None:
        head = VAEHead(hidden, latent_dim=embedding_dim, decoder=True, beta=beta, anneal_steps=anneal_steps, bias=True)
        super().__init__(head)
        self.dropout = dropout
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(graph.num_videos, hidden)))
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(hidden), std=0.001))
        self.video = nn.Parameter(nn.init.xavier_uniform_(torch.empty(graph.num_videos, hidden)))
        self.video_bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(graph.num_videos, 1), std=0.001))

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """user: h [U, hidden] of whole rows, without dropout; video: [W_4 ‖ b_4] [V, hidden + 1]."""
        video = torch.cat([self.video, self.video_bias], 1)
        users = None if rows is None else rows.user
        seen = graph.seen
        length = seen.degree().to(self.weight.dtype).clamp_min(1).rsqrt()
        length = length if users is None else length[users]
        user = torch.tanh(spmm(seen, self.weight, rows=users) * length.unsqueeze(1) + self.bias)
        return Embeddings(user, video if rows is None else video[rows.video])

    def loss(self, graph: MultimodalGraph, batch: RowBatch) -> dict[str, Tensor]:
        """``nll`` and ``kl``: together the negative β-ELBO."""
        dropped = F.dropout(F.normalize(batch.row, dim=1), self.dropout, self.training)
        user = torch.tanh(dropped @ self.weight + self.bias)
        z, mean, log_var = self.head.sample(user)
        logits = self.head.decode(z, torch.cat([self.video, self.video_bias], 1))
        kl = self.head.next_beta() * kl_gaussian(mean, log_var)
        return {"nll": multinomial_nll(logits, batch.row), "kl": kl}

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """Whole rows."""
        return RowSampler(graph, batch_size)


class VGAE(LightGCN):
    """The variational graph form: LightGCN's neighbourhood gives q(z_u), the propagated videos decode.

    q(z_u | G) = N(μ(h_u), σ²(h_u)), h_u the propagated user;  ŷ_uv = z_uᵀ h_v;  loss = BPR + β(t) KL(q ‖ N(0, I)).
    Kipf and Welling, "Variational Graph Auto-Encoders", 2016, https://arxiv.org/abs/1611.07308, with the pair-wise
    likelihood of MVGAE (Yi and Chen, 2021, https://doi.org/10.1109/TMM.2021.3111487) in place of all pairs'
    cross-entropy. Videos stay points: their rows serve every user and are what an index holds. The same as
    ``LightGCN(graph, head=VAEHead(embedding_dim))``.

    Args:
        graph, embedding_dim, num_layers, l2: as :class:`LightGCN`.
        beta: last β.
        anneal_steps: batches over which β rises.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        l2: float = 1e-4,
        beta: float = 0.01,
        anneal_steps: int = 2000,
    ) -> None:
        head = VAEHead(embedding_dim, beta=beta, anneal_steps=anneal_steps)
        super().__init__(graph, embedding_dim=embedding_dim, num_layers=num_layers, l2=l2, head=head)
