"""The NCF head: generalised matrix factorisation beside a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.nn.heads.base import Head
from mmgraph.ops import checks

BLOCK_PAIRS = 2**14  # pairs scored at once: 16 MiB of hidden states at width 256, so that they stay in the cache


class NCFHead(Head):
    """NeuMF's score on any embeddings: ŷ_uv = hᵀ[ p_u ⊙ q_v ; MLP(p_u ‖ q_v) ] + b.

    He et al., "Neural Collaborative Filtering", WWW 2017, https://arxiv.org/abs/1708.05031. MLP: 2D → 256 → 128 with
    ReLU after each layer. On raw embedding tables this is NeuMF (:class:`mmgraph.models.NeuMF`). Trained with binary
    cross-entropy.

    The first layer is linear in p ‖ q, so W[p ‖ q] = W_p p + W_q q is computed once a user and once a video, and only
    the sum, the ReLU and the second layer run for each pair, in blocks of fixed memory. The paper's σ is left out: it
    changes no ranking, and the loss takes logits.

    Args:
        embedding_dim: D, the width of p and q.
        hidden: widths of the MLP's layers, at least one.
        shared: True: a row of width D serves both paths. False: rows are 2D wide, the first D for the product and the
            other D for the MLP, as in the paper.
    """

    def __init__(self, embedding_dim: int = 64, hidden: Sequence[int] = (256, 128), *, shared: bool = True) -> None:
        super().__init__()
        checks.count(embedding_dim, "embedding_dim")
        if not isinstance(hidden, Sequence) or isinstance(hidden, str):
            raise TypeError(f"hidden must be a sequence of widths, got {hidden!r}")
        for width in hidden:
            checks.count(width, "hidden")
        if not hidden:
            raise ValueError("hidden needs at least one width")
        self.embedding_dim, self.shared = embedding_dim, shared
        self.user_layer = nn.Linear(embedding_dim, hidden[0], bias=False)
        self.video_layer = nn.Linear(embedding_dim, hidden[0])
        self.out = nn.Linear(embedding_dim + hidden[-1], 1)
        # the two halves of one matrix [hidden, 2D]: Xavier by its fan-in, not by a half's
        joined = nn.init.xavier_uniform_(torch.empty(hidden[0], 2 * embedding_dim))
        with torch.no_grad():
            self.user_layer.weight.copy_(joined[:, :embedding_dim])
            self.video_layer.weight.copy_(joined[:, embedding_dim:])
        dense = [nn.Linear(a, b) for a, b in pairwise(hidden)]
        self.layers = nn.ModuleList(dense)
        for layer in dense:
            nn.init.xavier_uniform_(layer.weight)
        nn.init.constant_(self.out.weight[:, :embedding_dim], 1.0)  # starts as a dot product plus a little
        nn.init.normal_(self.out.weight[:, embedding_dim:], std=0.01)
        for layer in (self.video_layer, *dense, self.out):
            nn.init.zeros_(layer.bias)

    def compare(self, state: Tensor, video: Tensor) -> Tensor:
        """Logits [B, V] for ``video`` [V, W], [B, N] for ``video`` [B, N, W]; W is D, or 2D unless ``shared``.

        Raises:
            ValueError: rows of another width.
        """
        width = self.embedding_dim * (1 if self.shared else 2)
        if state.shape[-1] != width or video.shape[-1] != width:
            raise ValueError(f"NCFHead takes rows of width {width}, got {state.shape[-1]} and {video.shape[-1]}")
        p, user = self._paths(state)
        q, video = self._paths(video)
        a, c = self.user_layer(user), self.video_layer(video)
        gmf, mlp = self.out.weight[0].split([self.embedding_dim, self.out.in_features - self.embedding_dim])
        p = p * gmf
        if video.dim() == 3:
            linear = (q @ p.unsqueeze(-1)).squeeze(-1)
            return linear + self._perceptron(a.unsqueeze(1) + c, mlp) + self.out.bias
        rows = max(1, BLOCK_PAIRS // max(len(c), 1))
        columns = min(len(c), BLOCK_PAIRS) or 1
        blocks = [
            torch.cat([self._perceptron(ab.unsqueeze(1) + cb, mlp) for cb in c.split(columns)], 1)
            for ab in a.split(rows)
        ]
        return p @ q.T + torch.cat(blocks) + self.out.bias

    def _paths(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.shared:
            return rows, rows
        return rows[..., : self.embedding_dim], rows[..., self.embedding_dim :]

    def _perceptron(self, first: Tensor, weight: Tensor) -> Tensor:
        """From the first layer's sums [b, n, hidden] to the MLP's share of the logit [b, n]."""
        x = F.relu(first)
        for layer in self.layers:
            x = F.relu(layer(x))
        return x @ weight
