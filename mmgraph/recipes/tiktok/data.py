"""The split, and what every recipe of it shares."""

from __future__ import annotations

from typing import Any

from mmgraph.data import Split, published_split
from mmgraph.data.readers import read_mmrec
from mmgraph.experiment import Experiment, Tuning
from mmgraph.experiment.space import Range
from mmgraph.graph import ModalityKNN, ScaleFeatures
from mmgraph.models import Recommender
from mmgraph.recipes.source import data_root
from mmgraph.train import FitConfig

MODALITIES = ("visual", "audio")
SCALED = (ScaleFeatures(),)


def tiktok() -> Split:
    """9,308 users, 6,710 videos, 59,541 / 3,051 / 6,130 interactions."""
    dataset = read_mmrec(data_root() / "tiktok")
    return published_split(dataset, column="x_label", name="tiktok-hkuds")


def similar(k: int = 10) -> tuple[ScaleFeatures | ModalityKNN, ...]:
    """Scaled features, and the nearest neighbours by each modality."""
    return (*SCALED, *(ModalityKNN(m, k, loops=True) for m in MODALITIES))


def trained(
    name: str,
    model: type[Recommender],
    args: dict[str, Any] | None = None,
    space: dict[str, Range] | None = None,
    rate: float = 1e-3,
    **fields: Any,
) -> Experiment:
    """A recipe trained until valid has not risen for 20 epochs, and the space it may be tuned over."""
    fit = FitConfig(learning_rate=rate, batch_size=2048, epochs=1000, patience=20)
    tuning = Tuning(space=space or {}, startup=4, batch=2, warm_up=20)
    own = {"model_args": args or {}, "fit": fit, "tuning": tuning} | fields
    return Experiment(name=f"tiktok-{name}", split=tiktok, model=model, **own)
