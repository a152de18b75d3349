"""Chosen pairs near each other, everything else apart: no negatives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.objectives.base import Examples, Objective, at_least, needs_rows

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.nn.heads import Head


@dataclass(frozen=True)
class AlignmentUniformity(Objective):
    """DirectAU: chosen pairs near each other, users apart, videos apart, on the unit sphere; no negatives.

    Wang et al., "Towards Representation Alignment and Uniformity in Collaborative Filtering", KDD 2022,
    https://arxiv.org/abs/2206.12811. ``align`` = mean ‖u − v‖²;  ``uniform`` = γ · ½ (l(users) + l(videos)), l(X) = ln
    mean_{x ≠ y} e^{−2‖x − y‖²}. A user or video that a batch names twice stands in l once; the public code counts each
    mention, so that a pair of the same row (distance 0) weighs as if two rows had collapsed.

    Args:
        gamma: γ.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        at_least("gamma", self.gamma, 0)

    def check(self, head: Head) -> None:
        """A head that compares rows."""
        needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``align`` and ``uniform``."""
        unit = examples.unit(head)
        align = (unit.state - F.embedding(unit.positive, unit.video)).square().sum(1).mean()
        order = torch.unique(unit.user_row, return_inverse=True)[1]
        first = torch.full((int(order.max()) + 1,), len(order), device=order.device).scatter_reduce_(
            0, order, torch.arange(len(order), device=order.device), "amin"
        )
        users, videos = unit.state[first], F.embedding(torch.unique(unit.positive), unit.video)
        return {"align": align, "uniform": self.gamma * (_uniformity(users) + _uniformity(videos)) / 2}


def _uniformity(rows: Tensor) -> Tensor:
    """ln mean over pairs of distinct unit rows of e^{−2‖x − y‖²}; 0 where there is no pair."""
    if len(rows) < 2:
        return rows.sum() * 0.0
    # ‖x − y‖² = 2 − 2 xᵀy
    gain = (4 * (rows @ rows.T - 1)).masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -torch.inf)
    return gain.flatten().logsumexp(0) - math.log(len(rows) * (len(rows) - 1))
