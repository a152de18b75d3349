"""TikTok micro-videos (MMRec layout, visual and acoustic features), the published split: protocol ``tiktok-hkuds``.

``mmgraph run mmgraph.recipes.tiktok:lightgcn`` runs five seeds and prints the table with the baselines. Every
setting below was chosen on valid; docs/results.md says how.
"""

from __future__ import annotations

from mmgraph.data import Split, published_split
from mmgraph.data.readers import read_mmrec
from mmgraph.experiment import Experiment
from mmgraph.graph import EdgeDrop, ModalityKNN, ScaleFeatures
from mmgraph.models import BPRMF, EASE, FREEDOM, MMGCN, VBPR, HeteroMMGCN, ItemKNN, LightGCN, Popularity
from mmgraph.recipes.source import data_root
from mmgraph.train import FitConfig


def tiktok() -> Split:
    """9,308 users, 6,710 videos, 59,541 / 3,051 / 6,130 interactions."""
    dataset = read_mmrec(data_root() / "tiktok")
    return published_split(dataset, column="x_label", name="tiktok-hkuds")


def popularity() -> Experiment:
    """The most interacted videos."""
    return Experiment(name="tiktok-popularity", split=tiktok, model=Popularity)


def itemknn() -> Experiment:
    """Co-interaction cosine."""
    return Experiment(name="tiktok-itemknn", split=tiktok, model=ItemKNN, model_args={"k": 20, "shrink": 1000.0})


def ease() -> Experiment:
    """EASE on interactions."""
    return Experiment(name="tiktok-ease", split=tiktok, model=EASE, model_args={"reg": 30.0})


def ease_features() -> Experiment:
    """EASE with both modalities appended: the row a graph model has to beat."""
    args = {"reg": 30.0, "features": ("visual", "audio"), "feature_weight": 4.0}
    return Experiment(name="tiktok-ease-features", split=tiktok, model=EASE, model_args=args)


def _baselines() -> tuple[Experiment, ...]:
    return popularity(), itemknn(), ease(), ease_features()


def lightgcn() -> Experiment:
    """LightGCN, 3 layers."""
    return Experiment(
        name="tiktok-lightgcn",
        split=tiktok,
        model=LightGCN,
        model_args={"num_layers": 3, "l2": 1e-3},
        fit=FitConfig(learning_rate=1e-3, batch_size=2048, epochs=1000, patience=20),
        baselines=_baselines(),
    )


def lightgcn_bf16() -> Experiment:
    """The same, layers kept in bfloat16 between products: what the faster training costs."""
    return lightgcn().variant({"fit.precision": "bf16"}, name="tiktok-lightgcn-bf16")


def bprmf() -> Experiment:
    """Matrix factorisation under BPR."""
    return lightgcn().variant(name="tiktok-bprmf", model=BPRMF, model_args={"l2": 1e-3})


def vbpr() -> Experiment:
    """VBPR on scaled features; with the raw ones, which share a large mean, or a small rate, it learns little."""
    return lightgcn().variant(
        {"fit.learning_rate": 3e-2},
        name="tiktok-vbpr",
        model=VBPR,
        model_args={"l2": 1e-2},
        transforms=(ScaleFeatures(),),
    )


def freedom() -> Experiment:
    """FREEDOM, both modalities alike, half of the edges kept at each epoch."""
    return lightgcn().variant(
        {"fit.patience": 10},
        name="tiktok-freedom",
        model=FREEDOM,
        model_args={"content": 1e-3},
        transforms=tuple(ModalityKNN(m, 9, "binary", loops=True, share=0.5) for m in ("visual", "audio")),
        epoch_transforms=(EdgeDrop(0.5, degree_sensitive=True),),
    )


def mmgcn() -> Experiment:
    """MMGCN as in the paper: a graph a modality. Wider or deeper it overfits within a few epochs."""
    args = {"embedding_dim": 16, "num_layers": 1, "l2": 1e-2}
    changes = {"fit.learning_rate": 1e-4, "fit.patience": 10}
    return lightgcn().variant(changes, name="tiktok-mmgcn", model=MMGCN, model_args=args)


def hetero_mmgcn() -> Experiment:
    """MMGCN on one heterogeneous graph with modality nodes and alignment."""
    args = {"num_layers": 2, "l2": 1e-3, "align": 0.1}
    return lightgcn().variant(name="tiktok-hetero-mmgcn", model=HeteroMMGCN, model_args=args)
