"""Training: ``fit``, its settings, callbacks and checkpoints."""

from __future__ import annotations

from mmgraph.train.callbacks import Callback, Epoch, LogEpochs, Pruned, Pruning, Start, Step, StopTraining, TensorBoard
from mmgraph.train.checkpoint import load_checkpoint, save_checkpoint
from mmgraph.train.fit_config import FitConfig
from mmgraph.train.fit_report import FitReport
from mmgraph.train.optimisers import Adam, AdamW, Optimiser, RowwiseAdagrad, SparseAdam
from mmgraph.train.schedules import Constant, Cosine, Plateau, Position, Schedule, StepDecay
from mmgraph.train.training import fit

__all__ = [
    "Adam",
    "AdamW",
    "Callback",
    "Constant",
    "Cosine",
    "Epoch",
    "FitConfig",
    "FitReport",
    "LogEpochs",
    "Optimiser",
    "Plateau",
    "Position",
    "Pruned",
    "Pruning",
    "RowwiseAdagrad",
    "Schedule",
    "SparseAdam",
    "Start",
    "Step",
    "StepDecay",
    "StopTraining",
    "TensorBoard",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
]
