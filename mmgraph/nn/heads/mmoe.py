"""The multi-task head: experts shared between click, finish, like and follow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.nn.heads.base import Head
from mmgraph.ops import checks

TASKS = ("click", "finish", "like", "follow")
BLOCK_PAIRS = 2**14


class MMoEHead(Head):
    """Multi-gate mixture of experts over a user–video pair: one logit a task.

    Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018,
    https://doi.org/10.1145/3219819.3220007. x = u ‖ v ‖ u ⊙ v;  experts f_i(x) = ReLU(W_i x + b_i);  gates
    g_t(x) = softmax(G_t x);  ŷ_t = h_tᵀ ReLU(T_t Σ_i g_t(x)_i f_i(x)) + b_t. One expert: every gate is 1, which is
    the shared bottom, and the gates get no gradient.

    Ranking takes Σ_t w_t ln σ(ŷ_t), the weighted product of the chances.

    Args:
        embedding_dim: D of user and video rows.
        tasks: names, in the order of the last axis of :meth:`logits`.
        experts: how many.
        expert_dim, tower_dim: widths.
        weights: w_t of the ranking; 1 for the first task and 0 for the others by default.

    Raises:
        ValueError: no task, no expert, or weights of another length.
    """

    weights: Tensor

    def __init__(
        self,
        embedding_dim: int = 64,
        *,
        tasks: Sequence[str] = TASKS,
        experts: int = 4,
        expert_dim: int = 64,
        tower_dim: int = 32,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("embedding_dim", embedding_dim), ("expert_dim", expert_dim), ("tower_dim", tower_dim)):
            checks.count(value, name)
        checks.count(experts, "experts")
        weights = [1.0] + [0.0] * (len(tasks) - 1) if weights is None else list(weights)
        if not tasks or experts < 1 or len(weights) != len(tasks):
            raise ValueError(f"{len(tasks)} tasks, {experts} experts and {len(weights)} weights do not go together")
        self.tasks, self.experts = tuple(tasks), experts
        width = 3 * embedding_dim
        self.expert = nn.Linear(width, experts * expert_dim)
        # a gate over one expert is the constant 1: it has nothing to learn
        self.gate = nn.Linear(width, experts * len(tasks), bias=False) if experts > 1 else None
        self.tower = nn.Parameter(torch.empty(len(tasks), expert_dim, tower_dim))
        self.tower_bias = nn.Parameter(torch.zeros(len(tasks), tower_dim))
        self.out = nn.Parameter(torch.empty(len(tasks), tower_dim))
        self.out_bias = nn.Parameter(torch.zeros(len(tasks)))
        for task in range(len(tasks)):
            nn.init.xavier_uniform_(self.tower.data[task])
        nn.init.xavier_uniform_(self.out)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def compare(self, state: Tensor, video: Tensor) -> Tensor:
        """Σ_t w_t ln σ(ŷ_t): [B, V], or [B, N] for ``video`` [B, N, D]; in blocks of fixed memory."""
        if video.dim() == 3:
            return self._rank(self.logits(state, video))
        rows = max(1, BLOCK_PAIRS // max(len(video), 1))
        blocks = []
        for some in state.split(rows):
            parts = [self.logits(some, v.expand(len(some), -1, -1)) for v in video.split(BLOCK_PAIRS)]
            blocks.append(self._rank(torch.cat(parts, 1)))
        return torch.cat(blocks)

    def logits(self, user: Tensor, video: Tensor) -> Tensor:
        """Each task's logit [B, N, T] for users [B, D] and videos [B, N, D]."""
        u = user.unsqueeze(1).expand_as(video)
        x = torch.cat([u, video, u * video], -1)
        states = F.relu(self.expert(x)).unflatten(-1, (self.experts, -1))  # [B, N, E, F]
        if self.gate is None:
            mixed = states.expand(*states.shape[:-2], len(self.tasks), -1)
        else:
            gates = self.gate(x).unflatten(-1, (len(self.tasks), self.experts)).softmax(-1)
            mixed = gates @ states  # [B, N, T, F]
        towers = F.relu(torch.einsum("...tf,tfh->...th", mixed, self.tower) + self.tower_bias)
        return (towers * self.out).sum(-1) + self.out_bias

    def _rank(self, logits: Tensor) -> Tensor:
        return F.logsigmoid(logits) @ self.weights
