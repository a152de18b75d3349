"""Objectives on a chosen video and videos that were drawn for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import Tensor

from mmgraph.graph.samplers import Draws
from mmgraph.losses import bce, bpr
from mmgraph.objectives.base import Examples, Objective, at_least, needs_rows

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.nn.heads import Head


@dataclass(frozen=True)
class DrawnPairs(Objective):
    """Base of the objectives on a pair and N videos drawn for it.

    Args:
        negatives: N, videos a pair that the user has no edge to, uniform.
    """

    by_columns: ClassVar[bool] = True
    negatives: int = 1

    def __post_init__(self) -> None:
        at_least("negatives", self.negatives, 1)

    @property
    def draws(self) -> Draws:
        """N for each pair."""
        return Draws(self.negatives)


@dataclass(frozen=True)
class BPR(DrawnPairs):
    """Bayesian personalised ranking: ``bpr`` = −mean ln σ(ŷ_ui − ŷ_uj) (:func:`mmgraph.losses.bpr`).

    Args:
        negatives: N, as in :class:`DrawnPairs`.
        hardest: only the negative of the highest score counts (dynamic negative sampling, Zhang et al., SIGIR 2013,
            https://doi.org/10.1145/2484028.2484126).
    """

    hardest: bool = False

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``bpr``."""
        own, other = examples.scores(head)
        return {"bpr": bpr(own, other.amax(1, keepdim=True) if self.hardest else other)}


@dataclass(frozen=True)
class BCE(DrawnPairs):
    """Binary cross-entropy on scores as logits, positives and negatives together (:func:`mmgraph.losses.bce`).

    Args:
        negatives: N, as in :class:`DrawnPairs`.
    """

    negatives: int = 4

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``bce``."""
        return {"bce": bce(*examples.scores(head))}


@dataclass(frozen=True)
class MaxMargin(DrawnPairs):
    """Hinge: ``margin`` = mean max(0, m + ŷ_uj − ŷ_ui), PinSage's loss.

    Args:
        negatives: N, as in :class:`DrawnPairs`.
        margin: m.
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("margin", self.margin, 0)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``margin``."""
        own, other = examples.scores(head)
        return {"margin": F.relu(self.margin + other - own).mean()}


@dataclass(frozen=True)
class CosineContrastive(DrawnPairs):
    """CCL: ``positive`` = mean (1 − cos(u, i)), ``negative`` = w · mean_j max(0, cos(u, j) − m).

    Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM 2021,
    https://arxiv.org/abs/2109.12613. Many negatives, of which only those inside the margin count.

    Args:
        negatives: N a pair.
        margin: m in [−1, 1].
        weight: w.
    """

    negatives: int = 800
    margin: float = 0.9
    weight: float = 250.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("margin", self.margin, -1)
        at_least("weight", self.weight, 0)

    def check(self, head: Head) -> None:
        """A head that compares rows."""
        needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``positive`` and ``negative``."""
        own, other = examples.cosines(head)
        return {"positive": (1 - own).mean(), "negative": self.weight * F.relu(other - self.margin).mean()}
