"""What the demo trains: a recipe like any other, on the folder of a world."""

from __future__ import annotations

import functools
from pathlib import Path

from mmgraph.data.readers import read_media_folder
from mmgraph.data.split import Split, global_time_split
from mmgraph.demo.ceiling import WorldPreference
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.models import EASE, ContentMean, ContentVAE, Hybrid, ItemKNN, Popularity
from mmgraph.train import FitConfig

NAMES = {
    "true-preference": "True preference",
    "hybrid": "Hybrid",
    "content-vae": "ContentVAE",
    "content-mean": "ContentMean",
    "ease": "EASE",
    "itemknn": "ItemKNN",
    "popularity": "Popularity",
}
NOTES = {
    "true-preference": "the ceiling: what users truly want, which no model sees",
    "hybrid": "content and co-watching, weighed by how they rank videos held back as if new; closed form",
    "content-vae": "titles, frames, sound and generation metadata in one space with who watched what",
    "content-mean": "near what you watched, by content alone, untrained",
    "ease": "co-watching alone, in closed form",
    "itemknn": "co-watching alone",
    "popularity": "clicks in training",
}


def split_of(folder: str) -> Split:
    """The clicks of a world's folder by time: eight parts to train on, one to choose by, one to test on."""
    return global_time_split(read_media_folder(Path(folder), signal="click"), (0.8, 0.1, 0.1))


def demo_experiment(folder: str | Path) -> Experiment:
    """The main model on a world's folder, beside the ceiling, a trained model and the baselines.

    Hybrid learns its weights from the training clicks. λ of EASE, the half-life and b were chosen by Recall@20 on valid
    of two worlds (seeds 0 and 1) with encoded media; b also by the share of new videos in world 0's ideal lists, which
    its test had shown. ContentVAE's epoch is chosen on valid.

    Args:
        folder: in the media-folder layout, with features.
    """
    base = Experiment(
        name="hybrid",
        split=functools.partial(split_of, str(folder)),
        model=Hybrid,
        model_args={"reg": 200.0, "half_life": 30.0, "novelty": 0.25},
        fit=FitConfig(epochs=12, batch_size=1024, learning_rate=1e-3, patience=2),
        evaluate=EvalConfig(k=(20,), groups=("warm", "cold"), auc=False),
        seeds=(0,),
    )
    beside = {
        "true-preference": (WorldPreference, {"world": str(folder)}),
        "popularity": (Popularity, {}),
        "itemknn": (ItemKNN, {}),
        "ease": (EASE, {"reg": 200.0}),
        "content-mean": (ContentMean, {}),
        "content-vae": (ContentVAE, {}),
    }
    baselines = [base.variant(name=name, model=model, model_args=args) for name, (model, args) in beside.items()]
    return base.variant(baselines=tuple(baselines))
