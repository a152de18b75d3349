"""Models that read pictures and sound, on TikTok. Features are standardised and of norm 1 unless said otherwise."""

from __future__ import annotations

from typing import Any

from mmgraph.experiment import Choice, Experiment, Uniform
from mmgraph.experiment.space import Range
from mmgraph.graph import DenoisedKNN, EdgeDrop, JoinKNN, ModalityKNN, UserCoInteraction, VideoCoInteraction
from mmgraph.models import (
    BM3,
    COHESION,
    DAMRS,
    DRAGON,
    FREEDOM,
    GRCN,
    GUME,
    LATTICE,
    MENTOR,
    MGCN,
    MICRO,
    MMGCN,
    MMSSL,
    MVGAE,
    PGL,
    SMORE,
    VBPR,
    DiffMM,
    DualGNN,
    HeteroMMGCN,
    LGMRec,
    Recommender,
    SLMRec,
)
from mmgraph.recipes.tiktok.collaborative import CONTRAST, L2, RATE
from mmgraph.recipes.tiktok.data import MODALITIES, SCALED, similar, trained

LIKE_MINDED = UserCoInteraction(40)


def _trained(
    name: str, model: type[Recommender], args: dict[str, Any], space: dict[str, Range], **fields: Any
) -> Experiment:
    own: dict[str, Any] = {"transforms": SCALED} | fields
    return trained(name, model, args, RATE | space, **own)


def _weight(**ranges: tuple[float, float]) -> dict[str, Range]:
    return {f"model_args.{name}": Uniform(*ends, log=True) for name, ends in ranges.items()}


def vbpr() -> Experiment:
    """VBPR; with the raw features, which share a large mean, or a small rate, it learns little."""
    return _trained("vbpr", VBPR, {"l2": 1e-2}, L2, rate=3e-2)


def mmgcn() -> Experiment:
    """MMGCN as in the paper, on raw features: a graph a modality. Wider or deeper it overfits within a few epochs."""
    args = {"embedding_dim": 16, "num_layers": 1, "l2": 1e-2}
    return _trained("mmgcn", MMGCN, args, L2, rate=1e-4, transforms=()).variant({"fit.patience": 10})


def hetero_mmgcn() -> Experiment:
    """MMGCN on one heterogeneous graph with modality nodes and alignment; raw features."""
    args = {"num_layers": 2, "l2": 1e-3, "align": 0.1}
    return _trained("hetero-mmgcn", HeteroMMGCN, args, L2 | _weight(align=(1e-3, 1.0)), transforms=())


def freedom() -> Experiment:
    """FREEDOM, both modalities alike, half of the edges kept at each epoch; raw features."""
    neighbours = tuple(ModalityKNN(m, 9, "binary", loops=True, share=0.5) for m in MODALITIES)
    thinned = {"transforms": neighbours, "epoch_transforms": (EdgeDrop(0.5, degree_sensitive=True),)}
    space = _weight(content=(1e-5, 1.0))
    return _trained("freedom", FREEDOM, {"content": 1e-3}, space, **thinned).variant({"fit.patience": 10})


def grcn() -> Experiment:
    """GRCN."""
    return _trained("grcn", GRCN, {"l2": 1e-3}, L2)


def dualgnn() -> Experiment:
    """DualGNN."""
    return _trained("dualgnn", DualGNN, {"l2": 1e-3}, L2, transforms=(*SCALED, LIKE_MINDED))


def lattice() -> Experiment:
    """LATTICE."""
    return _trained("lattice", LATTICE, {"l2": 1e-3}, L2, transforms=similar())


def micro() -> Experiment:
    """MICRO."""
    return _trained("micro", MICRO, {"l2": 1e-3, "contrast": 0.03}, L2 | CONTRAST, transforms=similar())


def slmrec() -> Experiment:
    """SLMRec."""
    space = CONTRAST | _weight(temperature=(0.05, 1.0))
    return _trained("slmrec", SLMRec, {"contrast": 0.1, "temperature": 0.2}, space)


def bm3() -> Experiment:
    """BM3."""
    space: dict[str, Range] = {"model_args.dropout": Choice(0.3, 0.5), "model_args.num_layers": Choice(1, 2)}
    args = {"num_layers": 1, "dropout": 0.5, "norm": 0.1}
    return _trained("bm3", BM3, args, space | _weight(norm=(1e-3, 1.0)))


def mgcn() -> Experiment:
    """MGCN."""
    return _trained("mgcn", MGCN, {"l2": 1e-3, "contrast": 0.01}, L2 | CONTRAST, transforms=similar())


def dragon() -> Experiment:
    """DRAGON."""
    return _trained("dragon", DRAGON, {"l2": 1e-3}, L2, transforms=(*similar(), LIKE_MINDED))


def mvgae() -> Experiment:
    """MVGAE."""
    return _trained("mvgae", MVGAE, {"beta": 0.1}, _weight(beta=(1e-3, 1.0)))


def lgmrec() -> Experiment:
    """LGMRec."""
    space = L2 | _weight(hyper=(0.05, 1.0))
    return _trained("lgmrec", LGMRec, {"l2": 1e-4, "hyper": 0.3}, space)


def smore() -> Experiment:
    """SMORE."""
    transforms = (*similar(), JoinKNN("max"))
    return _trained("smore", SMORE, {"l2": 1e-3, "contrast": 0.01}, L2 | CONTRAST, transforms=transforms)


def pgl() -> Experiment:
    """PGL, local: a subgraph of the interactions drawn at each epoch."""
    drawn = {"transforms": similar(), "epoch_transforms": (EdgeDrop(0.7, degree_sensitive=True),)}
    return _trained("pgl", PGL, {"contrast": 0.05}, CONTRAST, **drawn)


def mentor() -> Experiment:
    """MENTOR."""
    space = L2 | _weight(align=(1e-3, 1.0))
    args = {"l2": 1e-3, "align": 0.1}
    return _trained("mentor", MENTOR, args, space, transforms=(*similar(), LIKE_MINDED))


def cohesion() -> Experiment:
    """COHESION."""
    return _trained("cohesion", COHESION, {"l2": 1e-3}, L2, transforms=(*similar(), LIKE_MINDED))


def gume() -> Experiment:
    """GUME."""
    transforms = (*similar(), JoinKNN("agree", "agree"))
    return _trained("gume", GUME, {"l2": 1e-4, "contrast": 0.01}, L2 | CONTRAST, transforms=transforms)


def mmssl() -> Experiment:
    """MMSSL."""
    space = CONTRAST | _weight(generator=(1e-5, 1e-2), l2=(1e-6, 1e-2))
    return _trained("mmssl", MMSSL, {"l2": 1e-5, "contrast": 0.03, "generator": 1e-4}, space, rate=5.5e-4)


def diffmm() -> Experiment:
    """DiffMM, the modalities contrasted with each other."""
    args = {"anchor": "modalities", "l2": 1e-4, "contrast": 1e-2, "inject": 0.1}
    return _trained("diffmm", DiffMM, args, CONTRAST | _weight(l2=(1e-7, 1e-2), inject=(1e-2, 1.0)))


def damrs() -> Experiment:
    """DA-MRS."""
    args = {"num_layers": 3, "contrast": 0.01, "align": 0.1}
    joined = {"transforms": (*SCALED, DenoisedKNN(5), VideoCoInteraction(5))}
    return _trained("damrs", DAMRS, args, CONTRAST | _weight(align=(1e-2, 10.0)), **joined)
