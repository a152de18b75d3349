"""Scores as chances."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Platt(nn.Module):
    """Turns scores into chances: p = σ(a · s + b), a and b fitted to labels by maximum likelihood.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999. With b held at 0 it is temperature scaling (Guo
    et al., ICML 2017, https://arxiv.org/abs/1706.04599). The order of scores stays as it is (a > 0).

    The labels say what the chance means: fitted on held-out pairs against sampled others it is the chance of a
    positive at that sampling rate; fitted on exposures with clicks it is the click-through rate.
    """

    slope: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))

    @torch.no_grad()
    def fit(self, scores: Tensor, labels: Tensor, bias: bool = True, steps: int = 50) -> Platt:
        """Newton's method on the log-likelihood, in float64, with a ridge of 1e-6 so that separable labels stop too.

        Args:
            scores: any shape.
            labels: the same shape, in [0, 1].
            bias: False holds b at 0.
            steps: at most.

        Raises:
            ValueError: shapes that differ, labels all alike, or scores that fall where labels rise (a ≤ 0).
        """
        if scores.shape != labels.shape:
            raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} must agree")
        s, y = scores.flatten().double(), labels.flatten().double()
        if len(y) == 0 or float(y.min()) == float(y.max()):
            raise ValueError("calibration needs both positives and negatives")
        centre, scale = (s.mean(), s.std().clamp_min(1e-12)) if bias else (s.new_zeros(()), s.square().mean().sqrt())
        x = torch.stack([(s - centre) / scale, torch.ones_like(s) * float(bias)], 1)
        theta = x.new_zeros(2)
        ridge = 1e-6 * torch.eye(2, dtype=x.dtype, device=x.device)
        for _ in range(steps):
            p = torch.sigmoid(x @ theta)
            gradient = x.T @ (p - y) / len(y) + ridge @ theta
            curvature = (x * (p * (1 - p)).unsqueeze(1)).T @ x / len(y) + ridge
            move = torch.linalg.solve(curvature, gradient)
            theta = theta - move * min(1.0, 5.0 / float(move.norm().clamp_min(1e-12)))
            if float(move.norm()) < 1e-10:
                break
        if float(theta[0]) <= 0:
            raise ValueError(
                f"scores fall where labels rise (slope {float(theta[0] / scale):.3g}): nothing to calibrate"
            )
        self.slope.copy_(theta[0] / scale)
        self.shift.copy_(theta[1] - theta[0] / scale * centre)
        return self

    def forward(self, scores: Tensor) -> Tensor:
        """Chances in (0, 1), same shape."""
        return torch.sigmoid(self.slope * scores + self.shift)
