"""Parts of variational models: Gaussian posteriors, products of experts, β as a function of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mmgraph.ops import checks

LOG_VAR_RANGE = (-10.0, 10.0)  # σ between e^-5 and e^5: exp() of the gap of two of them stays finite in float32


def anneal(step: int | Tensor, beta: float, steps: int) -> Tensor:
    """β of a step: rises linearly from 0 to ``beta`` over ``steps`` steps, then stays.

    β(t) = beta · min(1, t / steps); ``steps`` = 0 is β at once. KL annealing of Bowman et al., CoNLL 2016,
    https://arxiv.org/abs/1511.06349, with Mult-VAE's cap below 1. A pure function: the only state is the step.

    Args:
        step: t ≥ 0, a number or a scalar tensor.
        beta: the last value.
        steps: length of the rise.
    """
    done = torch.as_tensor(step, dtype=torch.float32)
    return beta * (done / steps).clamp(max=1.0) if steps > 0 else beta * torch.ones_like(done)


class GaussianLayer(nn.Module):
    """A diagonal Gaussian from a state: μ = W_μ h + b_μ, ln σ² = W_σ h + b_σ (held to ±10).

    ``hidden`` layers with tanh may come between. The last layer starts small, so that σ² starts near 1.

    Args:
        in_dim: width of h.
        out_dim: width of z.
        hidden: widths in between.
    """

    def __init__(self, in_dim: int, out_dim: int, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        widths = [checks.count(in_dim, "in_dim"), *(checks.count(width, "hidden") for width in hidden)]
        checks.count(out_dim, "out_dim")
        self.hidden = nn.ModuleList(_linear(a, b) for a, b in pairwise(widths))
        self.out = _linear(widths[-1], 2 * out_dim)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """μ and ln σ², each [..., out_dim], of states [..., in_dim]."""
        for layer in self.hidden:
            state = torch.tanh(layer(state))
        mean, log_var = self.out(state).chunk(2, dim=-1)
        return mean, log_var.clamp(*LOG_VAR_RANGE)


def _linear(in_dim: int, out_dim: int) -> nn.Linear:
    # Mult-VAE's public code: Xavier weights, biases from a truncated normal of 0.001
    layer = nn.Linear(in_dim, out_dim)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.trunc_normal_(layer.bias, std=0.001)
    return layer


def reparameterise(mean: Tensor, log_var: Tensor) -> Tensor:
    """A draw z = μ + σ ε, ε ~ N(0, I), differentiable in μ and σ; ε from torch's generator, which ``fit`` seeds."""
    return mean + torch.randn_like(mean) * (0.5 * log_var).exp()


def log_var_layer(dim: int, start: float = -2.0) -> nn.Linear:
    """A linear layer that makes ln σ² of a state, near ``start`` at first."""
    layer = nn.Linear(dim, dim)
    nn.init.normal_(layer.weight, std=1e-2)
    nn.init.constant_(layer.bias, start)
    return layer


def product_of_experts(
    means: Mapping[str, Tensor],
    log_vars: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    prior: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Product of Gaussian experts, those that are present, times a prior expert.

    p(z | g) ∝ p_0(z) Π_m N(z; μ_m, σ_m²): 1/σ² = 1/σ_0² + Σ_m 1/σ_m², μ = σ² ( μ_0/σ_0² + Σ_m μ_m/σ_m² ). Wu and
    Goodman, "Multimodal Generative Models for Scalable Weakly-Supervised Learning", NeurIPS 2018,
    https://arxiv.org/abs/1802.05335. A missing modality is an expert with precision 0: whatever its row holds does
    not enter, and the fewer there are, the nearer the result lies to the prior, with the larger variance.

    Args:
        means, log_vars: modality -> [B, D].
        present: modality -> bool [B].
        prior: μ_0 and ln σ_0², broadcastable to [B, D]; the standard normal when None.

    Returns:
        μ and ln σ², each [B, D].

    Raises:
        ValueError: no modality and no prior given as [B, D], so that the shape is unknown.
    """
    if not means and prior is None:
        raise ValueError("a product of no experts needs a prior")
    like = next(iter(means.values())) if means else prior[0]  # type: ignore[index]
    mean_0, log_var_0 = (torch.zeros_like(like), torch.zeros_like(like)) if prior is None else prior
    precision = (-log_var_0).exp().expand_as(like)
    weighted = mean_0 * precision
    for name, mean in means.items():
        mine = torch.where(present[name].unsqueeze(-1), (-log_vars[name]).exp(), 0.0)
        precision = precision + mine
        weighted = weighted + mine * torch.where(present[name].unsqueeze(-1), mean, 0.0)
    return weighted / precision, -precision.log()
