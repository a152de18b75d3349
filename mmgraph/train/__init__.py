"""Training: ``fit`` and its checkpoints."""

from __future__ import annotations

from mmgraph.train.checkpoint import load_checkpoint, save_checkpoint
from mmgraph.train.fit import FitConfig, FitReport, fit

__all__ = [
    "FitConfig",
    "FitReport",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
]
