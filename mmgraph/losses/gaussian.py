"""Losses of variational models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.ops import checks


def multinomial_nll(logits: Tensor, counts: Tensor) -> Tensor:
    """Multinomial negative log-likelihood of whole rows: −mean_b Σ_v x_bv ln softmax(ŷ_b)_v.

    Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, https://arxiv.org/abs/1802.05814
    (the multinomial coefficient, constant in the parameters, is left out, as there). n ln V for n videos at chance.

    Args:
        logits: [B, V].
        counts: x, [B, V], zeros and ones or weights.
    """
    logits = checks.numbers(logits, (None, None), "logits")
    counts = checks.numbers(counts, logits.shape, "counts", bools=True, beside="logits")
    return -(F.log_softmax(logits, dim=1) * counts).sum(1).mean()


def kl_gaussian(
    mean: Tensor,
    log_var: Tensor,
    prior_mean: Tensor | None = None,
    prior_log_var: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """KL(N(μ, σ²) ‖ N(m, s²)) of diagonal Gaussians, summed over the width, mean over rows, in nats.

    ½ Σ_d ( ln s² − ln σ² + (σ² + (μ − m)²) / s² − 1 ); against the standard normal (both priors None) it is
    −½ Σ_d (1 + ln σ² − μ² − σ²), Kingma and Welling, ICLR 2014, https://arxiv.org/abs/1312.6114, appendix B.

    Args:
        mean, log_var: [B, D].
        prior_mean, prior_log_var: broadcastable to [B, D]; 0 where None.
        weight: factors on the rows' values before the mean, [B].
    """
    mean = checks.numbers(mean, None, "mean")
    log_var = checks.numbers(log_var, mean.shape, "log_var", beside="mean")
    m = torch.zeros_like(mean) if prior_mean is None else prior_mean
    s = torch.zeros_like(log_var) if prior_log_var is None else prior_log_var
    # both variances as exp of differences of logs: no division by a variance that has underflowed
    each = s - log_var + (log_var - s).exp() + (mean - m).square() * (-s).exp() - 1
    rows = 0.5 * each.sum(-1)
    return (rows if weight is None else rows * weight).mean()
