"""How a constraint is asked for one list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmgraph.constraint import Constraint


def nobody_as_stranger(users: Sequence[int]) -> Tensor:
    """[B] rows, -1 as a row beyond all that rules know: a stranger's."""
    rows = torch.tensor(list(users), dtype=torch.int64)
    return rows.masked_fill_(rows < 0, torch.iinfo(torch.int64).max)


def shortened(constraint: Constraint, k: int) -> Constraint:
    """The constraint for a list of k: one that is shorter than what quotas ask for at least keeps to the most alone."""
    if sum(quota.at_least for quota in constraint.quotas) <= k:
        return constraint
    return replace(constraint, quotas=tuple(replace(quota, at_least=0) for quota in constraint.quotas))
