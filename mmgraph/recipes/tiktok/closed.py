"""Rows of honesty and training-free filters on TikTok. Solved, not trained; those with a space are tuned alike."""

from __future__ import annotations

from typing import Any

from mmgraph.experiment import Choice, Experiment, Uniform
from mmgraph.experiment.space import Range
from mmgraph.models import (
    BSPM,
    EASE,
    GFCF,
    IALS,
    SLIM,
    AddEASE,
    ChebyCF,
    ContentKNN,
    ItemKNN,
    Popularity,
    Recommender,
    TurboCF,
)
from mmgraph.recipes.tiktok.data import MODALITIES, trained


def _solved(
    name: str, model: type[Recommender], args: dict[str, Any] | None = None, space: dict[str, Range] | None = None
) -> Experiment:
    return trained(name, model, args, {f"model_args.{key}": values for key, values in (space or {}).items()})


def popularity() -> Experiment:
    """The most interacted videos."""
    return _solved("popularity", Popularity)


def itemknn() -> Experiment:
    """Co-interaction cosine."""
    space: dict[str, Range] = {"k": Choice(10, 20, 50, 100), "shrink": Choice(0.0, 10.0, 100.0, 1000.0)}
    return _solved("itemknn", ItemKNN, {"k": 20, "shrink": 1000.0}, space)


def contentknn() -> Experiment:
    """The same of both modalities, on one scale."""
    return _solved("contentknn", ContentKNN, {"k": 10}, {"k": Choice(5, 10, 20, 50, 100)})


def contentknn_visual() -> Experiment:
    """Of pictures alone."""
    return _solved("contentknn-visual", ContentKNN, {"k": 10, "modalities": ("visual",)})


def contentknn_audio() -> Experiment:
    """Of sound alone."""
    return _solved("contentknn-audio", ContentKNN, {"k": 10, "modalities": ("audio",)})


def ease() -> Experiment:
    """EASE on interactions."""
    return _solved("ease", EASE, {"reg": 30.0}, {"reg": Uniform(1.0, 1000.0, log=True)})


def ease_features() -> Experiment:
    """EASE with both modalities appended: the row a graph model has to beat."""
    args = {"reg": 30.0, "features": MODALITIES, "feature_weight": 4.0}
    space: dict[str, Range] = {
        "reg": Uniform(1.0, 1000.0, log=True),
        "feature_weight": Uniform(0.1, 30.0, log=True),
    }
    return _solved("ease-features", EASE, args, space)


def add_ease() -> Experiment:
    """Two linear item models, of clicks and of features, mixed."""
    args = {"reg": 30.0, "feature_reg": 100.0, "alpha": 0.5}
    space: dict[str, Range] = {
        "reg": Uniform(1.0, 1000.0, log=True),
        "feature_reg": Uniform(1.0, 1000.0, log=True),
        "alpha": Uniform(0.0, 1.0),
    }
    return _solved("add-ease", AddEASE, args, space)


def slim() -> Experiment:
    """SLIM with the elastic net."""
    space: dict[str, Range] = {"alpha": Uniform(1e-5, 1e-1, log=True), "l1_ratio": Uniform(1e-4, 1.0, log=True)}
    return _solved("slim", SLIM, {"alpha": 1.17e-5, "l1_ratio": 3.06e-4}, space)


def ials() -> Experiment:
    """Implicit ALS, frequency-scaled; it wants unwatched videos to weigh little and weights to be held down hard."""
    space: dict[str, Range] = {
        "unobserved": Uniform(1e-4, 1.0, log=True),
        "reg": Uniform(1e-4, 1.0, log=True),
    }
    return _solved("ials", IALS, {"unobserved": 0.0014, "reg": 0.065}, space)


def gfcf() -> Experiment:
    """GF-CF."""
    space: dict[str, Range] = {"rank": Choice(64, 128, 256, 512), "ideal": Uniform(0.0, 1.0)}
    return _solved("gfcf", GFCF, {"rank": 256, "ideal": 0.96}, space)


def turbocf() -> Experiment:
    """Turbo-CF."""
    space: dict[str, Range] = {"alpha": Uniform(0.3, 0.8), "power": Uniform(0.4, 1.6), "order": Choice(1, 2, 3)}
    return _solved("turbocf", TurboCF, {"alpha": 0.694, "power": 0.906, "order": 1}, space)


def bspm() -> Experiment:
    """BSPM."""
    space: dict[str, Range] = {
        "rank": Choice(64, 128, 256, 448),
        "ideal": Uniform(0.0, 1.0),
        "sharpen": Uniform(0.2, 3.0),
    }
    return _solved("bspm", BSPM, {"rank": 448, "ideal": 0.785, "sharpen": 2.5}, space)


def chebycf() -> Experiment:
    """ChebyCF."""
    space: dict[str, Range] = {
        "flatness": Uniform(0.5, 3.0),
        "rank": Choice(64, 128, 256, 512),
        "ideal": Uniform(0.0, 1.0),
        "degree_power": Uniform(0.0, 0.8),
    }
    args = {"flatness": 2.96, "rank": 512, "ideal": 0.6, "degree_power": 0.617}
    return _solved("chebycf", ChebyCF, args, space)
