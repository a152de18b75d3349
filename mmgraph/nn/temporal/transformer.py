"""Causal self-attention over histories: absolute places (SASRec) and relative intervals (TiSASRec)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.nn.temporal.base import CausalLayer, lengths
from mmgraph.ops import checks

Norm = Literal["pre", "post"]


class CausalTransformer(CausalLayer):
    """Transformer blocks in which a step attends to itself and earlier steps only.

    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781. With
    ``norm="pre"``: x ← x + Attn(LN(x)), x ← x + FFN(LN(x)), a last LN on the output; with ``norm="post"``:
    x ← LN(x + Attn(x)), x ← LN(x + FFN(x)), and an LN on the input (as in BERT). FFN = W_2 act(W_1 x). The paper's
    code normalises queries alone and has one ReLU layer of width D.

    Places are learned and, by default, counted from the newest step, as the paper's left padding does: place 0 is
    the one a prediction is made from. ``positions="start"`` counts from the oldest, then the state at a step depends
    on nothing after it, not even on how many steps follow.

    There is no dropout on attention weights (the paper has it), so that the fused kernel serves; dropout is on the
    input and both residual branches.

    Args:
        dim: D, a multiple of ``num_heads``.
        num_layers, num_heads: blocks, and heads in each.
        hidden_dim: width of the FFN; D by default.
        dropout: see above.
        norm: see above.
        max_len: longest history; None for no places at all.
        positions: see above.
        activation: of the FFN.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int = 2,
        num_heads: int = 2,
        hidden_dim: int | None = None,
        dropout: float = 0.2,
        norm: Norm = "pre",
        max_len: int | None = 50,
        positions: Literal["end", "start"] = "end",
        activation: Literal["relu", "gelu"] = "gelu",
    ) -> None:
        super().__init__()
        checks.count(dim, "dim")
        checks.count(num_heads, "num_heads")
        checks.count(num_layers, "num_layers", 0)
        for name, size in (("hidden_dim", hidden_dim), ("max_len", max_len)):
            if size is not None:
                checks.count(size, name)
        checks.number(dropout, "dropout", 0, 1, below=True)
        if activation not in ("relu", "gelu"):
            raise ValueError(f"activation must be 'relu' or 'gelu', got {activation!r}")
        if dim % num_heads or norm not in ("pre", "post") or positions not in ("end", "start"):
            raise ValueError(
                f"dim {dim} must be a multiple of num_heads {num_heads}, norm 'pre' or 'post' (got {norm!r}), "
                f"positions 'end' or 'start' (got {positions!r})"
            )
        self.max_len, self.positions, self.norm = max_len, positions, norm
        self.place = nn.Parameter(0.02 * torch.randn(max_len, dim)) if max_len is not None else None
        self.blocks = nn.ModuleList(
            self._block(dim, num_heads, hidden_dim or dim, dropout, norm, activation) for _ in range(num_layers)
        )
        self.normalise = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def _block(self, dim: int, heads: int, hidden: int, dropout: float, norm: Norm, activation: str) -> nn.Module:
        return _Block(CausalAttention(dim, heads), dim, hidden, dropout, norm, activation)

    def states(self, x: Tensor, mask: Tensor, time: Tensor | None = None) -> Tensor:
        """The state after each step, [B, T, D]; what stands at padded steps is meaningless. ``time`` is not used.

        Raises:
            ValueError: T > max_len.
        """
        x = x.masked_fill(~mask.unsqueeze(-1), 0)
        if self.place is not None:
            x = x + self.place[self._places(mask)]
        return self._run(x, None)

    def _places(self, mask: Tensor) -> Tensor:
        length = lengths(mask)
        steps, longest = mask.shape[1], self.max_len
        if longest is not None and steps > longest:
            raise ValueError(f"a history of {steps} steps is longer than max_len {longest}: keep its most recent steps")
        step = torch.arange(steps, device=mask.device)
        return step.expand_as(mask) if self.positions == "start" else (length.unsqueeze(1) - 1 - step).clamp_min(0)

    def _run(self, x: Tensor, context: tuple[Tensor, ...] | None) -> Tensor:
        x = self.dropout(x)
        if self.norm == "post":
            x = self.normalise(x)
        for block in self.blocks:
            x = block(x, context)
        return self.normalise(x) if self.norm == "pre" else x


class _Block(nn.Module):
    """Attention and a feed-forward layer with residuals; see :class:`CausalTransformer` for the two orders of norm."""

    def __init__(
        self, attention: nn.Module, dim: int, hidden: int, dropout: float, norm: Norm, activation: str
    ) -> None:
        super().__init__()
        self.attention, self.pre = attention, norm == "pre"
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        act = nn.ReLU() if activation == "relu" else nn.GELU()
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), act, nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: tuple[Tensor, ...] | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; ``context`` is what the attention wants besides x."""
        first, second = self.norms
        if self.pre:
            x = x + self.dropout(self.attention(first(x), context))
            return x + self.dropout(self.feed_forward(second(x)))
        x = first(x + self.dropout(self.attention(x, context)))
        return second(x + self.dropout(self.feed_forward(x)))


class CausalAttention(nn.Module):
    """Multi-head scaled dot-product attention, step t over steps 0..t. Padding comes after, so it is never attended.

    Args:
        dim: D.
        heads: number of heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_value = nn.Linear(dim, 2 * dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias here would cancel in the softmax
        self.out = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, heads, T, D / heads]."""
        query, value = self.query_value(x).chunk(2, -1)
        parts = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (query, self.key(x), value))
        query, key, value = parts
        return query, key, value

    def merge(self, heads: Tensor) -> Tensor:
        """[B, heads, T, D / heads] to [B, T, D]."""
        return self.out(heads.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, context: tuple[Tensor, ...] | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        query, key, value = self.split(x)
        return self.merge(F.scaled_dot_product_attention(query, key, value, is_causal=True))


class RelativeTransformer(CausalTransformer):
    """Causal attention that knows how much time lies between steps: TiSASRec's layers.

    Li, Wang & McAuley, "Time Interval Aware Self-Attention for Sequential Recommendation", WSDM 2020,
    https://doi.org/10.1145/3336191.3371786. With clipped intervals r_ij = min(⌊|t_i − t_j| / s_i⌋, k), s_i the shortest
    interval > 0 between neighbouring steps of the same history up to step i (the paper takes the whole history's, which
    lets a state know of later steps):
    e_ij = q_iᵀ(k_j + r^K_ij + p^K_j) / √d;  z_i = Σ_{j≤i} softmax_j(e_ij) (v_j + r^V_ij + p^V_j).

    r^K and r^V are tables of k + 1 rows shared by the layers, as in the paper; places p^K, p^V too. The tables are
    applied to queries and summed attention weights, [B, T, k + 1], and not gathered to [B, T, T, D].

    Args:
        dim, num_layers, num_heads, hidden_dim, dropout, norm, activation, positions: as :class:`CausalTransformer`.
        max_len: longest history.
        max_interval: k.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int = 2,
        num_heads: int = 2,
        hidden_dim: int | None = None,
        dropout: float = 0.2,
        norm: Norm = "pre",
        max_len: int = 50,
        positions: Literal["end", "start"] = "end",
        activation: Literal["relu", "gelu"] = "gelu",
        max_interval: int = 64,
    ) -> None:
        checks.count(max_interval, "max_interval")
        checks.count(max_len, "max_len")
        super().__init__(dim, num_layers, num_heads, hidden_dim, dropout, norm, None, positions, activation)
        self.max_len, self.max_interval = max_len, max_interval
        self.place_key = nn.Parameter(0.02 * torch.randn(max_len, dim))
        self.place_value = nn.Parameter(0.02 * torch.randn(max_len, dim))
        self.interval_key = nn.Parameter(0.02 * torch.randn(max_interval + 1, dim))
        self.interval_value = nn.Parameter(0.02 * torch.randn(max_interval + 1, dim))

    def _block(self, dim: int, heads: int, hidden: int, dropout: float, norm: Norm, activation: str) -> nn.Module:
        return _Block(IntervalAttention(dim, heads), dim, hidden, dropout, norm, activation)

    def intervals(self, time: Tensor | None, mask: Tensor) -> Tensor:
        """r, [B, T, T] int64; without times, steps are one apart."""
        if time is None:
            time = torch.arange(mask.shape[1], device=mask.device).expand_as(mask).double()
        gap = (time.unsqueeze(2) - time.unsqueeze(1)).abs()
        near = time.diff(dim=1).abs().masked_fill(~mask[:, 1:], 0)
        shortest = torch.where(near > 0, near, torch.inf).cummin(1).values  # up to step i: later ones cannot matter
        shortest = F.pad(torch.where(shortest.isfinite(), shortest, 1.0), (1, 0), value=1.0)
        return (gap / shortest.unsqueeze(2)).clamp(max=self.max_interval).long()

    def states(self, x: Tensor, mask: Tensor, time: Tensor | None = None) -> Tensor:
        """The state after each step, [B, T, D]; what stands at padded steps is meaningless.

        Raises:
            ValueError: T > max_len.
        """
        x = x.masked_fill(~mask.unsqueeze(-1), 0)
        places = self._places(mask)
        interval = self.intervals(time, mask)
        context = (interval, self.place_key[places], self.place_value[places], self.interval_key, self.interval_value)
        return self._run(x, context)


class IntervalAttention(CausalAttention):
    """The attention of :class:`RelativeTransformer`."""

    def forward(self, x: Tensor, context: tuple[Tensor, ...] | None = None) -> Tensor:
        """[B, T, D] to [B, T, D].

        Args:
            x: [B, T, D].
            context: intervals [B, T, T], key and value places [B, T, D], key and value tables of intervals [k + 1, D].
        """
        assert context is not None
        interval, place_key, place_value, interval_key, interval_value = context
        query, key, value = self.split(x)
        key, value = key + self._heads(place_key), value + self._heads(place_value)
        query = query * query.shape[-1] ** -0.5
        index = interval.unsqueeze(1).expand(-1, self.heads, -1, -1)
        by_interval = query @ self._heads(interval_key).transpose(-1, -2)  # [B, heads, T, k + 1]
        scores = query @ key.transpose(-1, -2) + by_interval.gather(-1, index)
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        attention = scores.masked_fill(future, -torch.inf).softmax(-1)
        summed = torch.zeros_like(by_interval).scatter_add(-1, index, attention)
        return self.merge(attention @ value + summed @ self._heads(interval_value))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
