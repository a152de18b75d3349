"""Losses: pure functions with closed forms. Each returns a scalar, a mean over its examples."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: −mean ln σ(ŷ_ui − ŷ_uj).

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009,
    https://arxiv.org/abs/1205.2618. Formed by softplus, so finite at differences of ±1e3 and beyond.

    Args:
        positive: scores of chosen videos, [B] or [B, 1].
        negative: scores of sampled videos, [B, N].
    """
    return F.softplus(negative - positive.reshape(-1, 1)).mean()


def info_nce(
    anchor: Tensor, positive: Tensor, temperature: float = 0.2, normalize: bool = True, symmetric: bool = False
) -> Tensor:
    """InfoNCE with in-batch negatives: −mean_i ln( e^{s_ii/τ} / Σ_j e^{s_ij/τ} ), s cosine.

    van den Oord et al., 2018, https://arxiv.org/abs/1807.03748. Unlike a distance alone it cannot be met by
    shrinking or by one point for all: the other rows push away. ln B at chance.

    Args:
        anchor, positive: [B, D], row i of one belongs to row i of the other.
        temperature: τ > 0.
        normalize: cosine; False for plain dot products.
        symmetric: the mean of both directions, over the same similarities.
    """
    if normalize:
        anchor, positive = F.normalize(anchor, dim=-1), F.normalize(positive, dim=-1)
    logits = (anchor / temperature) @ positive.T
    own = torch.arange(len(anchor), device=anchor.device)
    if symmetric:
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    return F.cross_entropy(logits, own)


def alignment(
    views: Mapping[str, Tensor], present: Mapping[str, Tensor], kind: str = "l2", temperature: float = 0.2
) -> Tensor:
    """Modality alignment over the pairs of modalities that are present for a video.

    ``"l2"``: L = mean over pairs (m, n) and videos i having both of ‖h_i^m/|h_i^m| − h_i^n/|h_i^n|‖².
    ``"l2_raw"``: the same without unit norm, as the article prints it; minimised alone it shrinks all h to 0, so
    it is only safe beside a loss that keeps them apart. ``"info_nce"``: :func:`info_nce`, both ways, same pairs.

    Args:
        views: modality -> [B, D].
        present: modality -> bool [B]; a pair counts where both are True.
        kind: which form.
        temperature: τ of InfoNCE.

    Returns:
        Scalar; 0 (with gradient 0) when no video has two modalities.

    Raises:
        ValueError: an unknown ``kind``.
    """
    if kind not in ("l2", "l2_raw", "info_nce"):
        raise ValueError(f"kind must be 'l2', 'l2_raw' or 'info_nce', got {kind!r}")
    total = sum((v.sum() * 0.0 for v in views.values()), torch.zeros(()))
    count = 0
    for m, n in combinations(views, 2):
        both = present[m] & present[n]
        size = int(both.sum())
        if size == 0:
            continue
        a, b = views[m][both], views[n][both]
        if kind == "info_nce":
            pair = info_nce(a, b, temperature, symmetric=True)
        else:
            if kind == "l2":
                a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
            pair = (a - b).square().sum(-1).mean()
        total, count = total + pair * size, count + size
    return total / max(count, 1)


def embedding_l2(*embeddings: Tensor) -> Tensor:
    """½ Σ ‖e‖² / B over the embedding rows of a batch, B the rows of the first: BPR's regulariser.

    Args:
        embeddings: each [..., D]; the first's leading size is B.
    """
    return sum((e.square().sum() for e in embeddings), torch.zeros(())) / (2 * len(embeddings[0]))


def bce(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy on logits: −mean( ln σ(ŷ_ui), ln(1 − σ(ŷ_uj)) ), over positives and negatives together.

    The point-wise loss of He et al., "Neural Collaborative Filtering", WWW 2017, https://arxiv.org/abs/1708.05031.
    Formed by softplus, so finite at logits of ±1e3 and beyond. ln 2 at logits of 0.

    Args:
        positive: logits of chosen videos, [B] or [B, 1].
        negative: logits of sampled videos, [B, N].
    """
    return torch.cat([F.softplus(-positive.flatten()), F.softplus(negative.flatten())]).mean()


def sampled_softmax(
    positive: Tensor, negative: Tensor, log_q_positive: Tensor | None = None, log_q_negative: Tensor | None = None
) -> Tensor:
    """Softmax over the positive and sampled negatives, corrected for how they were sampled.

    −mean_b ln( e^{s_b} / (e^{s_b} + Σ_n e^{s_bn}) ), s = ŷ − ln q. With logQ it estimates the softmax over all videos
    when video j is drawn with chance q_j (Bengio and Senécal, 2008, https://doi.org/10.1109/TNN.2007.912312; in
    recommenders Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996). Uniform q cancels.

    Args:
        positive: scores of chosen videos, [B] or [B, 1].
        negative: scores of sampled videos, [B, N]; -inf takes one out.
        log_q_positive: ln q of the chosen videos, [B] or [B, 1]; no correction when None.
        log_q_negative: ln q of the sampled ones, broadcastable to [B, N].
    """
    positive = positive.reshape(-1, 1)
    if log_q_positive is not None:
        positive = positive - log_q_positive.reshape(-1, 1)
    if log_q_negative is not None:
        negative = negative - log_q_negative
    logits = torch.cat([positive, negative], 1)
    return (logits.logsumexp(1) - logits[:, 0]).mean()


def multinomial_nll(logits: Tensor, counts: Tensor) -> Tensor:
    """Multinomial negative log-likelihood of whole rows: −mean_b Σ_v x_bv ln softmax(ŷ_b)_v.

    Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, https://arxiv.org/abs/1802.05814
    (the multinomial coefficient, constant in the parameters, is left out, as there). n ln V for n videos at chance.

    Args:
        logits: [B, V].
        counts: x, [B, V], zeros and ones or weights.
    """
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
    m = torch.zeros_like(mean) if prior_mean is None else prior_mean
    s = torch.zeros_like(log_var) if prior_log_var is None else prior_log_var
    # both variances as exp of differences of logs: no division by a variance that has underflowed
    each = s - log_var + (log_var - s).exp() + (mean - m).square() * (-s).exp() - 1
    rows = 0.5 * each.sum(-1)
    return (rows if weight is None else rows * weight).mean()


def pair_loss(objective: str, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
    """The loss that a head asks for by name, as a named term: ``"bpr"``, ``"bce"`` or ``"softmax"``.

    Args:
        objective: see :attr:`mmgraph.nn.Head.objective`.
        positive: scores [B, 1].
        negative: scores [B, N].

    Raises:
        ValueError: another name.
    """
    forms = {"bpr": bpr, "bce": bce, "softmax": sampled_softmax}
    if objective not in forms:
        raise ValueError(f"objective must be one of {sorted(forms)}, got {objective!r}")
    return {objective: forms[objective](positive, negative)}
