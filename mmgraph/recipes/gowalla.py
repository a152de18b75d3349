"""Gowalla check-ins, the split LightGCN was published on: protocol ``gowalla-lightgcn``.

The published numbers train on train + valid and are tested at the end; here the epoch is chosen on valid, so the model
sees fewer edges than the papers' and its row is not the papers' row.
"""

from __future__ import annotations

from mmgraph.data import Split, published_split
from mmgraph.data.readers import read_lightgcn
from mmgraph.experiment import Experiment, Integer, Tuning, Uniform
from mmgraph.models import ItemKNN, LightGCN, Popularity
from mmgraph.recipes.source import data_root
from mmgraph.train import FitConfig

KNN = Tuning(space={"model_args.k": Integer(10, 1000, log=True), "model_args.shrink": Uniform(0, 1000)})


def gowalla() -> Split:
    """29,858 users, 40,981 places, 1,027,370 check-ins."""
    folder = data_root() / "gowalla"
    dataset = read_lightgcn(folder / "train.txt", folder / "test.txt", valid=folder / "valid.txt", name="gowalla")
    return published_split(dataset, column="split", name="gowalla-lightgcn")


def gowalla_published() -> Split:
    """The same as published: before the test, valid is part of the graph, and masked."""
    folder = data_root() / "gowalla"
    dataset = read_lightgcn(folder / "train.txt", folder / "test.txt", valid=folder / "valid.txt", name="gowalla")
    return published_split(dataset, column="split", seen_at_test="train+valid", name="gowalla-published")


def popularity() -> Experiment:
    """The most visited places."""
    return Experiment(name="gowalla-popularity", split=gowalla, model=Popularity)


def itemknn() -> Experiment:
    """Co-visit cosine."""
    return Experiment(name="gowalla-itemknn", split=gowalla, model=ItemKNN, model_args={"k": 100}, tuning=KNN)


def lightgcn() -> Experiment:
    """LightGCN, 3 layers, the paper's settings."""
    return Experiment(
        name="gowalla-lightgcn",
        split=gowalla,
        model=LightGCN,
        model_args={"num_layers": 3, "l2": 1e-4},
        fit=FitConfig(learning_rate=1e-3, batch_size=2048, epochs=1000, patience=10, eval_every=5),
        seeds=(0,),
        baselines=(popularity(), itemknn()),
        tuning=Tuning(
            space={
                "fit.learning_rate": Uniform(1e-4, 1e-1, log=True),
                "model_args.num_layers": Integer(1, 4),
                "model_args.l2": Uniform(1e-6, 1e-2, log=True),
            },
            warm_up=100,
        ),
    )
