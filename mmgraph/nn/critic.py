"""A critic that tells rows of learned relations from real ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mmgraph.ops import checks


class Critic(nn.Module):
    """A Wasserstein critic of rows: V → V/4 → V/8 → 1, with a penalty on its gradient.

    c(x) = s · σ(W_3 h_2), h_l = Dropout(BN(LReLU(W_l h_{l-1}))). Gulrajani et al., "Improved Training of Wasserstein
    GANs", NeurIPS 2017, https://arxiv.org/abs/1704.00028, in the form of MMSSL (WWW 2023,
    https://arxiv.org/abs/2302.10632). MMSSL's public code makes its activation by ``LeakyReLU(True)``, which is a slope
    of 1, so that its critic is linear up to the batch norms and the last σ; here the slope is .2.

    Critic and generator are trained in one step by one optimiser: each term of :meth:`forward` sends its gradient to
    one of the two alone. The public code takes a step of the critic first, at a learning rate of its own.

    Args:
        in_dim: V, width of a row.
        dropout: of the two hidden layers.
        scale: s.
        penalty: weight of mean (‖∇c(x)‖ − 1)² on points between real and learned rows.
    """

    def __init__(
        self, in_dim: int, dropout: tuple[float, float] = (0.31, 0.5), scale: float = 100.0, penalty: float = 0.3
    ) -> None:
        super().__init__()
        checks.count(in_dim, "in_dim")
        self.scale, self.penalty = scale, checks.number(penalty, "penalty", 0)
        widths = in_dim, max(in_dim // 4, 1), max(in_dim // 8, 1)
        hidden = []
        for a, b, p in zip(widths, widths[1:], dropout, strict=False):
            hidden += [nn.Linear(a, b), nn.LeakyReLU(0.2), nn.BatchNorm1d(b), nn.Dropout(p)]
        self.net = nn.Sequential(*hidden, nn.Linear(widths[-1], 1))

    @property
    def first(self) -> tuple[Tensor, Tensor]:
        """W_1 [V/4, V] and its bias, which are all that meets whole rows."""
        layer: Any = self.net[0]
        return layer.weight, layer.bias

    def scores(self, rows: Tensor) -> Tensor:
        """c of rows [n, V], [n]: higher is more like a real one."""
        return self._rest(F.linear(rows, *self.first))

    def _rest(self, hidden: Tensor, frozen: bool = False) -> Tensor:
        rest = self.net[1:]
        held = {name: weight.detach() for name, weight in rest.named_parameters()}
        return self.scale * torch.sigmoid(functional_call(rest, held, (hidden,)) if frozen else rest(hidden)).squeeze(1)

    def forward(self, real: Tensor, learned: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's loss and the generator's, scalars.

        mean c(learned) − mean c(real) + penalty, whose gradient reaches the critic alone; and −mean c(learned), whose
        gradient reaches ``learned`` alone.

        Args:
            real, learned: [n, V], as many of one as of the other.
        """
        weight, bias = self.first
        own, fake = (F.linear(rows.detach(), weight, bias) for rows in (real, learned))
        return self.compare(own, fake, F.linear(learned, weight.detach(), bias.detach()))

    def compare(self, real: Tensor, fake: Tensor, learned: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`forward` of rows that are through the first layer, where points between them are between them too.

        Args:
            real, fake: what :attr:`first` makes of rows without gradient, [n, V/4].
            learned: what it makes, itself without gradient, of the rows whose gradient is wanted, [n, V/4].
        """
        share = torch.rand(len(real), 1, dtype=real.dtype, device=real.device)
        between = share * real + (1 - share) * fake
        slope = torch.autograd.grad(self._rest(between).sum(), between, create_graph=True)[0] @ self.first[0]
        penalty = (slope.norm(dim=1) - 1).square().mean()
        critic = self._rest(fake).mean() - self._rest(real).mean() + self.penalty * penalty
        return critic, -self._rest(learned, frozen=True).mean()


class Tastes(NamedTuple):
    """Rows of a learned relation, n(z_u · z_v) over all videos, [n, V], known by their factors."""

    user: Tensor
    """z_u, [n, D]."""
    video: Tensor
    """z_v, [V, D]."""
    hidden: Tensor | None = None
    """Entries that are 0, ones in [n, V]."""

    def detach(self) -> Tastes:
        """Without gradient."""
        return Tastes(self.user.detach(), self.video.detach(), self.hidden)

    def dense(self) -> Tensor:
        """[n, V]."""
        scores = self.user @ self.video.T
        return F.normalize(scores if self.hidden is None else scores * (1 - self.hidden), dim=1)

    def through(self, weight: Tensor, bias: Tensor) -> Tensor:
        """What a linear layer [H, V] makes of them, [n, H]; unless entries are hidden, at the cost of D columns."""
        if self.hidden is not None:
            return F.linear(self.dense(), weight, bias)
        square = (self.user @ (self.video.T @ self.video) * self.user).sum(1, keepdim=True)
        return F.linear(self.user / square.clamp_min(1e-24).sqrt(), weight @ self.video, bias)


def gumbel_rows(rows: Tensor, noise: float, temperature: float) -> Tensor:
    """softmax((x + noise · Gumbel)/τ) of each row [n, V]: rows of zeros and ones made dense, as learned ones are."""
    uniform = torch.rand_like(rows).clamp(1e-8, 1 - 1e-7)
    return F.softmax((rows - noise * torch.log(-torch.log(uniform))) / temperature, dim=1)
