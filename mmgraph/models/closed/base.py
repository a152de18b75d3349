"""What models share that are solved and not trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmgraph.models.base import Recommender


class ClosedForm(Recommender):
    """A recommender whose ``solve(graph)`` fits it, and says so in ``solved``.

    Args:
        given, more: of the base beside it, where there is one.
    """

    closed_form = True
    solved: Tensor

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.register_buffer("solved", torch.zeros((), dtype=torch.bool))

    @property
    def fitted(self) -> bool:
        """Whether :meth:`solve` has run."""
        return bool(self.solved)
