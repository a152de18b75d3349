"""TikTok's cold rows: 449 test users whose target no training user touched, ranked among the 465 unseen videos.

One recipe:    mmgraph run mmgraph.recipes.tiktok_cold:content_vae
All of it:     python -m mmgraph.recipes.tiktok_cold [--seeds N] [--out DIR]

Every setting was chosen on valid's cold rows (223 users), and so is each run's epoch; docs/cold-start.md has the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, Tuning, Uniform, run_all, table
from mmgraph.models import CLCRec, ContentMean, ContentVAE, DropoutNet
from mmgraph.recipes.tiktok import tiktok
from mmgraph.train import FitConfig

MONITOR = "cold/recall@20"
EVALUATE = EvalConfig(k=(20,), groups=("warm", "cold"), auc=True)
L2 = Uniform(1e-6, 1e-2, log=True)
POWER = {"model_args.power": Uniform(0, 1)}
CONTENT = {"weights": {"audio": 0.3}, "whiten": ["audio"], "power": 0.75}


def visual_mean() -> Experiment:
    """The mean visual profile, cosine: the row to beat."""
    args = {"modalities": ["visual"]}
    return Experiment(
        name="tiktok-cold-visual-mean", split=tiktok, model=ContentMean, model_args=args, evaluate=EVALUATE
    )


def content_mean() -> Experiment:
    """Mean profile of picture and sound: sound whitened and at .3, widely watched videos counting less."""
    tuning = Tuning(space=POWER)
    return visual_mean().variant(name="tiktok-cold-content-mean", model_args=dict(CONTENT), tuning=tuning)


def content_vae() -> Experiment:
    """ContentVAE on picture and sound."""
    return Experiment(
        name="tiktok-cold-content-vae",
        split=tiktok,
        model=ContentVAE,
        model_args={**CONTENT, "embedding_dim": 64, "temperature": 0.2, "anneal_steps": 100},
        fit=FitConfig(learning_rate=2e-4, batch_size=1024, epochs=6, patience=6, monitor=MONITOR),
        evaluate=EVALUATE,
        baselines=(visual_mean(), content_mean(), dropoutnet(), clcrec()),
        tuning=_space(1e-5, 1e-2, {"model_args.temperature": Uniform(0.05, 1, log=True), **POWER}),
    )


def dropoutnet() -> Experiment:
    """DropoutNet-style: ids missing half of the time."""
    return visual_mean().variant(
        name="tiktok-cold-dropoutnet",
        model=DropoutNet,
        model_args={},
        fit=FitConfig(learning_rate=1e-3, batch_size=2048, epochs=12, eval_every=2, patience=3, monitor=MONITOR),
        tuning=_space(1e-4, 1e-1, {"model_args.dropout": Uniform(0, 0.95), "model_args.l2": L2}),
    )


def clcrec() -> Experiment:
    """CLCRec-like: a content encoder contrasted with the collaborative embedding."""
    return visual_mean().variant(
        name="tiktok-cold-clcrec",
        model=CLCRec,
        model_args={},
        fit=FitConfig(learning_rate=1e-2, batch_size=2048, epochs=12, eval_every=2, patience=3, monitor=MONITOR),
        tuning=_space(
            1e-4, 1e-1, {"model_args.mix": Uniform(0, 1), "model_args.align": Uniform(0, 10), "model_args.l2": L2}
        ),
    )


def _space(low: float, high: float, more: dict[str, Uniform]) -> Tuning:
    """The rate and what is the model's own; the recipes train for 6 to 12 epochs."""
    return Tuning(space={"fit.learning_rate": Uniform(low, high, log=True), **more}, warm_up=4)


def main() -> None:
    """Run the experiment and its baselines, print the cold rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    given = parser.parse_args()
    found = run_all(content_vae(), given.out, resume=True, seeds=tuple(range(given.seeds)))
    for group in ("cold", "warm", "all"):
        print(f"\n{group}")
        print(table(found, metrics=("user_auc", "auc", "recall@20"), group=group).markdown())


if __name__ == "__main__":
    main()
