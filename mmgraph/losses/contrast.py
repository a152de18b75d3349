"""Losses that bring two views of one thing together and keep others apart."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.losses.softmax import block_rows, softmax_cross_entropy
from mmgraph.ops import checks
from mmgraph.ops.dispatch import autocast_type

HALF = (torch.bfloat16, torch.float16)
LEAST = 1e-10  # of what a logarithm is taken


def info_nce(
    anchor: Tensor,
    positive: Tensor,
    temperature: float = 0.2,
    normalize: bool = True,
    symmetric: bool = False,
    among: tuple[Tensor, Tensor] | None = None,
    intra: bool = False,
) -> Tensor:
    """InfoNCE: −mean_i ln( e^{s_ii/τ} / Σ_j e^{s_ij/τ} ), s cosine; the negatives are the batch, or a whole table.

    van den Oord et al., 2018, https://arxiv.org/abs/1807.03748. Unlike a distance alone it cannot be met by
    shrinking or by one point for all: the other rows push away. ln B at chance.

    Args:
        anchor, positive: [B, D], row i of one belongs to row i of the other.
        temperature: τ > 0.
        normalize: cosine; False for plain dot products.
        symmetric: the mean of both directions, over the same similarities; with the batch as negatives.
        among: a table [M, D] whose rows are the negatives, and [B] which of them are the positives.
        intra: the other anchors are negatives too (MICRO, GRACE).

    Returns:
        Scalar; 0, with gradient 0, when B is 0.
    """
    anchor = checks.numbers(anchor, (None, None), "anchor")
    positive = checks.numbers(positive, anchor.shape, "positive", beside="anchor") if among is None else positive
    checks.number(temperature, "temperature", 0, above=True)
    if not len(anchor):
        return anchor.sum() * 0.0
    table, own = (positive, torch.arange(len(anchor), device=anchor.device)) if among is None else among
    if normalize:
        anchor, table = F.normalize(anchor, dim=-1), F.normalize(table, dim=-1)
    query = anchor / temperature
    if not symmetric and not intra:
        return softmax_cross_entropy(query, table, own)
    logits = query @ table.T
    if symmetric:
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    others = query @ anchor.T
    eye = torch.eye(len(anchor), dtype=torch.bool, device=anchor.device)
    return F.cross_entropy(torch.cat([logits, others.masked_fill(eye, -torch.inf)], 1), own)


def neighbour_nce(
    anchor: Tensor,
    table: Tensor,
    first: Tensor,
    second: Tensor,
    temperature: float = 0.2,
    present: Tensor | None = None,
) -> Tensor:
    """InfoNCE with several positives, in two ranks: −mean ln P(first) − mean ln ( P(second) / (1 − P(first)) ).

    P(S) = Σ_{j∈S} e^{cos(a, t_j)/τ} / Σ_j e^{cos(a, t_j)/τ}. What DA-MRS calls neighbour discrimination: ``first`` are
    the neighbours that all views agree on, ``second`` those of one view among the rest.

    Args:
        anchor: [B, D].
        table: [V, D].
        first, second: rows of the table, [B, K] and [B, L], disjoint.
        temperature: τ > 0.
        present: rows of the table that take part, bool [V]; all when None.

    Returns:
        Scalar; 0, with gradient 0, when B is 0.
    """
    anchor = checks.numbers(anchor, (None, None), "anchor")
    table = checks.numbers(table, (None, anchor.shape[1]), "table")
    checks.number(temperature, "temperature", 0, above=True)
    if not len(anchor):
        return anchor.sum() * 0.0
    unit, rows = (F.normalize(x.float() if x.dtype in HALF else x, dim=1) for x in (anchor, table))
    absent = None if present is None or bool(present.all()) else ~present
    return _NeighbourNCE.apply(unit / temperature, rows, first, second, absent)  # type: ignore[return-value]


def _slope(x: Tensor) -> Tensor:
    """The derivative of ln max(x, LEAST)."""
    return (x >= LEAST) / x.clamp_min(LEAST)


class _NeighbourNCE(torch.autograd.Function):
    """Forward computes the loss and, where wanted, both gradients, a block of rows after another; backward scales them.

    A row's loss depends on its softmax p at the chosen columns alone, through near = Σ_first p and next = Σ_second p:
    ∂/∂logits_j = p_j (c_j − Σ_i c_i p_i), c_j the loss's derivative by near or by next where j is chosen, else 0.
    """

    @staticmethod
    def forward(ctx, anchor: Tensor, table: Tensor, first: Tensor, second: Tensor, absent: Tensor | None) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grads = (torch.empty_like(anchor), torch.zeros_like(table)) if wanted else None
        low, size = autocast_type(anchor) or anchor.dtype, block_rows(table)
        narrow, total = table.to(low), anchor.new_zeros(())
        for start in range(0, len(anchor), size):
            rows = slice(start, start + size)
            block, chosen = anchor[rows].to(low), (first[rows], second[rows])
            chance = (block @ narrow.T).to(anchor.dtype)
            chance = (chance if absent is None else chance.masked_fill_(absent, -torch.inf)).softmax(1)
            shares = [chance.gather(1, at) for at in chosen]
            near, beside = (share.sum(1, keepdim=True) for share in shares)
            rest = 1 - near
            ratio = beside / rest.clamp_min(LEAST)
            total -= (near.clamp_min(LEAST).log() + ratio.clamp_min(LEAST).log()).sum()
            if grads is not None:
                slopes = [_slope(near) + (ratio >= LEAST) * _slope(rest), (ratio >= LEAST) / beside.clamp_min(LEAST**2)]
                chance *= slopes[0] * near + slopes[1] * beside
                for at, share, slope in zip(chosen, shares, slopes, strict=True):
                    chance.scatter_add_(1, at, -slope * share)
                chance = chance.div_(len(anchor)).to(low)
                grads[0][rows] = chance @ narrow
                grads[1].add_(chance.T @ block)
        if grads is not None:
            ctx.save_for_backward(*grads)
        return total / len(anchor)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        of_anchor, of_table = ctx.saved_tensors
        return of_anchor * grads[0], of_table * grads[0], None, None, None


def bernoulli_divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(p ‖ q) + KL(q ‖ p) of Bernoulli variables given as logits, p = σ(a), q = σ(b): mean of (p − q)(a − b).

    Args:
        a, b: logits of one shape.
    """
    a = checks.numbers(a, None, "a")
    b = checks.numbers(b, a.shape, "b")
    return ((torch.sigmoid(a) - torch.sigmoid(b)) * (a - b)).mean()


def moment_alignment(a: Tensor, b: Tensor) -> Tensor:
    """|mean(a) − mean(b)| + |var(a) − var(b)|, over all entries: two views as Gaussians (MENTOR, GUME).

    Args:
        a, b: [n, D]; rows need not correspond.
    """
    a = checks.numbers(a, (None, None), "a")
    b = checks.numbers(b, (None, a.shape[1]), "b", beside="a")
    return (a.mean() - b.mean()).abs() + (a.var() - b.var()).abs()


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
    total = torch.stack([v.sum() * 0.0 for v in views.values()]).sum() if views else torch.zeros(())
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
