"""Add-EASE: a linear item model of clicks and one of features, added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmgraph.models.base import chosen_modalities
from mmgraph.models.closed.ease import EASE, feature_rows, item_weights_

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class AddEASE(EASE):
    """Add-EASE: B = (1 − α) EASE(X) + α EASE(F), F the features' rows in place of users.

    Jeunen et al., "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020,
    https://doi.org/10.1145/3383313.3418480. F as in :class:`EASE`. Memory: two dense [V, V].

    Args:
        graph: gives V, and the features in :meth:`solve`.
        reg: λ of the clicks.
        feature_reg: λ of the features.
        alpha: α in [0, 1].
        modalities: which; all of the graph's by default.

    Raises:
        ValueError: α outside [0, 1].
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        reg: float = 100.0,
        feature_reg: float = 100.0,
        alpha: float = 0.5,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__(graph, reg=reg)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        self.alpha, self.feature_reg, self.chosen = alpha, feature_reg, chosen_modalities(graph, modalities)

    def solve(self, graph: MultimodalGraph) -> None:
        """Two inverses of [V, V]."""
        super().solve(graph)
        features = feature_rows({m: graph.features(m) for m in self.chosen}).to(self.weight)
        content = item_weights_(features @ features.T, self.feature_reg)
        self.weight.mul_(1 - self.alpha).add_(content, alpha=self.alpha)
