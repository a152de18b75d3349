"""Weighted means of a history: by age, by learned attention over time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmgraph.nn.temporal.base import DAY, TemporalLayer, TimeEncoding, age, masked_softmax
from mmgraph.ops import checks


class TimeDecayProfile(TemporalLayer):
    """The mean of a history weighted by age: u = Σ_t w_t x_t / Σ_t w_t, w_t = 2^(−(T − t)/h), T the row's newest time.

    h is in days and the exponent is formed in log space, so seconds neither under- nor overflow. ``half_life=inf``
    is the plain mean. The edge-weight form of the same is ``graph.TimeDecay``.

    Args:
        half_life: h, in units (days by default), > 0.
        unit: seconds a unit; 1 where times are places in a list.
        learned: train ln h.
    """

    def __init__(self, half_life: float, unit: float = DAY, learned: bool = False) -> None:
        super().__init__()
        if half_life != math.inf:
            checks.number(half_life, "half_life", 0, above=True)
        if not half_life > 0 or (learned and math.isinf(half_life)):
            raise ValueError(f"half_life must be positive, and finite to be learned; got {half_life}")
        self.unit = unit
        log = torch.tensor(math.log(half_life))
        self.log_half_life = nn.Parameter(log) if learned else log.item()

    def weights(self, mask: Tensor, time: Tensor | None = None) -> Tensor:
        """w_t / Σ w, [B, T]: sums to 1 over the real steps, 0 elsewhere."""
        half_life = torch.as_tensor(self.log_half_life, device=mask.device).exp()
        return masked_softmax(-math.log(2) * age(time, mask, self.unit) / half_life, mask)

    def forward(self, x: Tensor, mask: Tensor, time: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        """[B, D]; ``query`` is ignored."""
        return pool(self.weights(mask, time), x, mask)


class TimeAttention(TemporalLayer):
    """Additive attention over steps and their times: α_t = softmax_t( qᵀ tanh(W_x x_t + W_p p(t)) ), u = Σ α_t x_t.

    p is :class:`TimeEncoding` of the step's age. q is learned; with a ``query`` vector it is q + W_q query, so the
    user's long-term vector can say what to look for. The result is a mean of the steps themselves, so it lives in
    the videos' space.

    Args:
        dim: D.
        hidden_dim: width of the tanh layer; D by default.
        unit: seconds a unit of time: a day by default, 1 where times are places in a list.
        query: whether there is a W_q.
        use_time: False drops p: attention by content alone.
    """

    uses_query = True

    def __init__(
        self,
        dim: int,
        hidden_dim: int | None = None,
        unit: float = DAY,
        query: bool = False,
        use_time: bool = True,
    ) -> None:
        super().__init__()
        checks.count(dim, "dim")
        checks.number(unit, "unit", 0, above=True)
        hidden = hidden_dim or dim
        self.x = nn.Linear(dim, hidden)
        self.encoding = TimeEncoding(unit=unit) if use_time else None
        self.p = nn.Linear(self.encoding.dim, hidden, bias=False) if self.encoding is not None else None
        self.q = nn.Parameter(torch.empty(hidden))
        nn.init.normal_(self.q, std=hidden**-0.5)
        self.query = nn.Linear(dim, hidden, bias=False) if query else None

    def weights(self, x: Tensor, mask: Tensor, time: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        """α, [B, T]: sums to 1 over the real steps, exactly 0 elsewhere; all 0 in a row of no steps."""
        hidden = self.x(x)
        if self.encoding is not None and self.p is not None:
            hidden = hidden + self.p(self.encoding(time, mask).to(x.dtype))
        q = self.q if self.query is None or query is None else (self.q + self.query(query)).unsqueeze(1)
        return masked_softmax((hidden.tanh() * q).sum(-1), mask)

    def forward(self, x: Tensor, mask: Tensor, time: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        """[B, D]."""
        return pool(self.weights(x, mask, time, query), x, mask)


def pool(weights: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """Σ_t w_t x_t, [B, D]; what stands in padded steps is dropped, NaN included."""
    return (weights.to(x.dtype).unsqueeze(1) @ x.masked_fill(~mask.unsqueeze(-1), 0)).squeeze(1)
