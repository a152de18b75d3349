"""Diffusion over whole interaction rows: a denoiser that gives the clean row, and rows generated from clean ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.nn.propagation import with_loops
from mmgraph.ops import CSR, checks, spmm

BLOCK = 2048  # rows generated at once


class RowDiffusion(nn.Module):
    """Noise added to rows of interactions in T steps, and an MLP that predicts the clean row from any of them.

    q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I), 1 − ᾱ_t linear in t from s·β_min to s·β_max, β_1 raised to 1e-4;
    x̂_0 = W_2 tanh(W_1 x_t + W_t [cos ; sin](t) + b_1) + b_2. Wang et al., "Diffusion Recommender Model", SIGIR 2023,
    https://arxiv.org/abs/2304.04971; one a modality in DiffMM (ACM MM 2024, https://arxiv.org/abs/2406.11781).

    Args:
        size: V, width of a row.
        hidden: width of the hidden layer.
        steps: T.
        scale: s.
        lowest, highest: β_min and β_max.
        dropout: of the noisy row, in training.
        time_dim: width of the encoding of t, even.
    """

    kept: Tensor
    chance: Tensor

    def __init__(
        self,
        size: int,
        hidden: int = 1000,
        steps: int = 5,
        scale: float = 0.1,
        lowest: float = 1e-4,
        highest: float = 0.02,
        dropout: float = 0.5,
        time_dim: int = 10,
    ) -> None:
        super().__init__()
        for name, count in (("size", size), ("hidden", hidden), ("steps", steps)):
            checks.count(count, name)
        self.steps, self.time_dim, self.dropout = steps, time_dim, nn.Dropout(dropout)
        kept = 1 - torch.linspace(scale * lowest, scale * highest, steps, dtype=torch.float64)
        ratio = kept / F.pad(kept[:-1], (1, 0), value=1.0)
        chance = (1 - ratio).clamp(max=0.999)
        chance[0] = 1e-4  # as in the public code of both papers: the first step alone would barely move a row
        self.register_buffer("chance", chance.float(), persistent=False)  # β_t
        self.register_buffer("kept", (1 - chance).cumprod(0).float(), persistent=False)  # ᾱ_t
        self.first = nn.Parameter(nn.init.xavier_normal_(torch.empty(size, hidden)))
        self.time, self.last = nn.Linear(time_dim, hidden), nn.Linear(hidden, size)
        for layer in (self.time, self.last):
            nn.init.xavier_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.001)

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        """x̂_0 [B, V] of rows x_t [B, V] and their t [B], 0 … T − 1."""
        return self.last(self._hidden(self.dropout(noisy) @ self.first, step))

    def _hidden(self, projected: Tensor, step: Tensor) -> Tensor:
        half = self.time_dim // 2
        rate = torch.exp(-math.log(10_000) / half * torch.arange(half, device=step.device))
        angle = step.unsqueeze(1) * rate
        return torch.tanh(projected + self.time(torch.cat([angle.cos(), angle.sin()], 1)))

    def noise(self, clean: Tensor, step: Tensor) -> Tensor:
        """A draw of x_t, [B, V]."""
        kept = self.kept[step].unsqueeze(1)
        return kept.sqrt() * clean + (1 - kept).sqrt() * torch.randn_like(clean)

    def predict(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """x̂_0 of rows noised to a step at random each, [B, V], and the loss of the diffusion, a scalar.

        Mean over rows of w_t · mean_v (x_0 − x̂_0)², w_t = (SNR_{t−1} − SNR_t), 1 for the first step,
        SNR_t = ᾱ_t / (1 − ᾱ_t): the evidence bound.
        """
        step = torch.randint(0, self.steps, (len(clean),), device=clean.device)
        guess = self(self.noise(clean, step), step)
        ratio = self.kept / (1 - self.kept)
        weight = torch.where(step == 0, 1.0, ratio[(step - 1).clamp_min(0)] - ratio[step])
        return guess, (weight * (clean - guess).square().mean(1)).mean()

    @torch.no_grad()
    def generate(self, clean: CSR) -> Tensor:
        """x̂_0 after T steps back from clean rows [B, V], the mean of each step, without noise: dense [B, V].

        Steps are taken in the hidden layer's space: x_{t−1} = c_1 x̂_0 + c_2 x_t enters through W_1 alone, and
        W_1 x̂_0 = W_1 W_2 h + W_1 b_2 needs W_1 W_2 [hidden, hidden] once. A step costs B · hidden² in place of
        2 · B · hidden · V; the numbers are those of the long way, up to rounding.
        """
        through, shift = (self.first.T @ self.last.weight).T, self.last.bias @ self.first
        projected = spmm(clean, self.first)
        for t in range(self.steps - 1, 0, -1):
            h = self._hidden(projected, torch.full((clean.shape[0],), t, device=self.first.device))
            left = 1 - self.kept[t]
            c1 = self.chance[t] * self.kept[t - 1].sqrt() / left
            c2 = (1 - self.kept[t - 1]) * (1 - self.chance[t]).sqrt() / left
            projected = c1 * (h @ through + shift) + c2 * projected
        return self.last(self._hidden(projected, torch.zeros(clean.shape[0], device=self.first.device)))


class GeneratedGraph(nn.Module):
    """A graph of users and videos that a :class:`RowDiffusion` generates: each user's ``k`` largest entries.

    In training it is drawn row by row as :meth:`redraw` is asked to, and thinned; these edges lie in the buffer
    ``edges``, [U, k], -1 where there is none, which is saved with the weights. Otherwise it is generated whole from the
    weights, each time that it is asked for.

    Args:
        num_users, num_videos: U, V.
        k: videos a user.
        dropout: share of the edges left out in training; those that stay weigh 1 / (1 − dropout).
        hidden, steps: of the diffusion.
        stale: take the edges of training in evaluation too.
        loops: every node is its own neighbour.
    """

    edges: Tensor

    def __init__(
        self,
        num_users: int,
        num_videos: int,
        k: int = 1,
        dropout: float = 0.5,
        hidden: int = 1000,
        steps: int = 5,
        stale: bool = False,
        loops: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.dropout, self.stale, self.loops = (num_users, num_videos), dropout, stale, loops
        self.diffusion = RowDiffusion(num_videos, hidden, steps)
        self.register_buffer("edges", torch.full((num_users, min(checks.count(k, "k"), num_videos)), -1))

    @torch.no_grad()
    def draw(self, clicks: CSR, allowed: Tensor) -> Tensor:
        """The videos generated for rows of clicks [n, V], [n, k]; none for a row without clicks.

        Args:
            clicks: CSR [n, V] of ones.
            allowed: the videos that may be chosen, bool [V].
        """
        best = self.diffusion.generate(clicks).masked_fill(~allowed, -torch.inf).topk(self.edges.shape[1], dim=1)
        return best.indices.masked_fill(~best.values.isfinite() | (clicks.degree() == 0).unsqueeze(1), -1)

    @torch.no_grad()
    def redraw(self, users: Tensor, clicks: CSR, allowed: Tensor) -> None:
        """Draws and thins the rows of some users [n], whose clicks are given."""
        drawn = self.draw(clicks, allowed)
        self.edges[users] = drawn.masked_fill(torch.rand(drawn.shape, device=drawn.device) < self.dropout, -1)

    def forward(self, clicks: CSR, allowed: Tensor) -> CSR:
        """D^-1/2 A D^-1/2 over users and videos stacked, CSR [U + V, U + V]."""
        stored = self.training or self.stale
        every = torch.arange(self.shape[0], device=self.edges.device).split(BLOCK)
        edges = self.edges if stored else torch.cat([self.draw(clicks.select(rows)[0], allowed) for rows in every])
        user, place = (edges >= 0).nonzero(as_tuple=True)
        raw = CSR.bipartite(user, edges[user, place], self.shape)
        matrix = (with_loops(raw) if self.loops else raw).normalized("sym")
        scale = 1 / (1 - self.dropout) if stored else 1.0
        return matrix.with_values(scale * matrix.values, symmetric=True)  # type: ignore[operator]
