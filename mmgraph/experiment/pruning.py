"""When a trial is given up before its end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgraph.train import Epoch, Pruned


@dataclass
class Prune:
    """Ends a trial whose best so far is below a quantile of its rivals' at the same epoch."""

    rivals: list[tuple[tuple[int, float], ...]]
    below: float
    warm_up: int

    def on_epoch(self, epoch: Epoch) -> None:
        """Looks at all epochs so far, so that a resumed trial is judged as one that was not."""
        best = -math.inf
        for row in epoch.report.history:
            moment, value = int(row["epoch"]), row.get(epoch.monitor)
            if value is None:
                continue
            best = max(best, value)
            others = [max((v for e, v in curve if e <= moment), default=-math.inf) for curve in self.rivals]
            others = [v for v in others if v > -math.inf]
            if moment >= self.warm_up and len(others) >= 2 and best < float(np.quantile(others, self.below)):
                raise Pruned(f"epoch {moment}: {best:.4f} is below the finished trials' {self.below} quantile")

    def on_start(self, start: Any) -> None:
        """Nothing."""

    def on_step(self, step: Any) -> None:
        """Nothing."""

    def on_end(self, report: Any) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep: the history says it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
