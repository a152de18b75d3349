"""What a training run did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(repr=False)
class FitReport:
    """What ``fit`` did: a row an epoch (loss terms, validation, seconds), and which epoch's weights remain.

    Attributes:
        history: a row an epoch.
        best_epoch: whose weights remain; -1 where nothing was validated.
        best: its validation metrics.
        stopped: why training ended, in words; empty while it goes on.
        rising: it ran out of epochs while ``monitor`` was still rising: the best validation was among the last tenth.
            More epochs would give other numbers.
        pruned: a callback found the run not worth going on with.
        monitor: name of the metric that chose the best epoch.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best: dict[str, float] = field(default_factory=dict)
    stopped: str = ""
    rising: bool = False
    pruned: bool = False
    monitor: str = ""

    @property
    def seconds(self) -> float:
        """Training and validation time over all epochs, those before a resume included."""
        return sum(row["seconds"] for row in self.history)

    def __repr__(self) -> str:
        epochs = f"{len(self.history)} epoch{'s' * (len(self.history) != 1)}"
        best = f", best epoch {self.best_epoch}" if self.best else ""
        if self.monitor in self.best:
            best += f": {self.monitor} {self.best[self.monitor]:.4f}"
        return f"FitReport({epochs}{best}; {self.stopped or 'not finished'})"
