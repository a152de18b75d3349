"""Small networks fitted to a trained model's rows, so that a new video gets one at the cost of a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.bundle.towers import LinearTower
from mmgraph.features.standardise import Standardiser

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_HELD_OUT = 10  # every tenth warm video


@torch.no_grad()
def content_tower(graph: MultimodalGraph, rows: Tensor, modalities: Sequence[str]) -> tuple[LinearTower, str]:
    """A matrix from content to the video rows of a trained model, by ridge regression over the warm videos.

    Features are standardised by column, rows scaled to unit norm, absent ones 0 with a flag. The ridge is the one of
    :data:`RIDGES` that predicts every tenth warm video best.

    Args:
        graph: gives features and interactions.
        rows: [V, D], what the model ranks by.
        modalities: to read, in order.

    Returns:
        The tower, and in words how near it comes to the rows of the videos held out.
    """
    features = [graph.features(m) for m in modalities]
    warm = graph.seen.transpose().degree() > 0
    has = torch.stack([f.present for f in features]).any(0)
    known = (warm & has).nonzero().flatten()
    means, scales = [], []
    for feature in features:
        used = feature.values[feature.present & warm]
        standard = Standardiser.fit(used if len(used) else feature.values)
        means.append(standard.mean)
        scales.append(1 / standard.scale)
    inputs = [t for f in features for t in (f.values, f.present)]
    width = sum(f.dim for f in features) + len(features)
    blank = LinearTower(means, scales, rows.new_zeros(width, rows.shape[1]), rows.new_zeros(rows.shape[1]))
    x, y = blank.inputs(*inputs)[known].double(), rows[known].double()
    if not len(known):
        return blank, "no warm video has features: every new video gets the same row"
    held = torch.zeros(len(known), dtype=torch.bool, device=rows.device)
    if len(known) >= 2 * _HELD_OUT:
        held[::_HELD_OUT] = True
    tried = []
    for ridge in RIDGES:
        weight, bias = _ridge(x[~held], y[~held], ridge)
        probe = (x[held] @ weight + bias, y[held]) if bool(held.any()) else (x @ weight + bias, y)
        cosine = float(torch.nn.functional.cosine_similarity(*probe, dim=1).mean())
        tried.append((cosine, ridge))
    cosine, ridge = max(tried)
    weight, bias = _ridge(x, y, ridge)
    about = f"ridge regression ({ridge:g}) on {len(known):,} videos; mean cosine with held-out rows {cosine:.3f}"
    return LinearTower(means, scales, weight.float(), bias.float()), about


def _ridge(x: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """W and b of least squares with ridge · mean squared column norm on W."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred
    scale = gram.diagonal().mean().clamp_min(1e-12)
    weight = torch.linalg.solve(gram + ridge * scale * torch.eye(len(gram), dtype=x.dtype), centred.T @ (y - mean_y))
    return weight, mean_y - mean_x @ weight
