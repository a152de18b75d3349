"""Trained models of who watched what, on TikTok."""

from __future__ import annotations

from typing import Any

from mmgraph.experiment import Choice, Experiment, Uniform
from mmgraph.experiment.space import Range
from mmgraph.graph import EdgeDrop, EdgeViews, RandomWalkNeighbours
from mmgraph.models import (
    BPRMF,
    NGCF,
    SGL,
    LayerGCN,
    LightGCL,
    LightGCN,
    LightGCNPP,
    MultVAE,
    PinSage,
    Recommender,
    SimGCL,
    UltraGCN,
    XSimGCL,
)
from mmgraph.nn.heads import CosineHead
from mmgraph.objectives import AlignmentUniformity, CosineContrastive, SampledSoftmax
from mmgraph.recipes.tiktok.closed import ease, ease_features, itemknn, popularity
from mmgraph.recipes.tiktok.data import SCALED, trained

RATE: dict[str, Range] = {"fit.learning_rate": Uniform(1e-4, 3e-2, log=True)}
L2: dict[str, Range] = {"model_args.l2": Uniform(1e-6, 1e-1, log=True)}
CONTRAST: dict[str, Range] = {"model_args.contrast": Uniform(1e-4, 1.0, log=True)}


def _trained(
    name: str, model: type[Recommender], args: dict[str, Any], space: dict[str, Range], **fields: Any
) -> Experiment:
    return trained(name, model, args, RATE | space, **fields)


def lightgcn() -> Experiment:
    """LightGCN, 3 layers."""
    baselines = popularity(), itemknn(), ease(), ease_features()
    return _trained("lightgcn", LightGCN, {"num_layers": 3, "l2": 1e-3}, L2, baselines=baselines)


def lightgcn_bf16() -> Experiment:
    """The same, layers kept in bfloat16 between products: what the faster training costs."""
    return lightgcn().variant({"fit.precision": "bf16"}, name="tiktok-lightgcn-bf16")


def lightgcn_softmax() -> Experiment:
    """LightGCN, one layer, trained on cosines under BSL's in-batch softmax, ranked by dot products."""
    objectives = [
        SampledSoftmax(temperature=t, cosine=True, exponent=c) for t in (0.08, 0.12, 0.2, 0.3) for c in (0.84, 1.0)
    ]
    space: dict[str, Range] = {"objective": Choice(*objectives), "model_args.num_layers": Choice(1, 2, 3)}
    args = {"num_layers": 1, "l2": 1e-5}
    return _trained("lightgcn-softmax", LightGCN, args, space | L2, objective=objectives[2])


def lightgcn_directau() -> Experiment:
    """LightGCN under DirectAU's alignment and uniformity."""
    objectives = [AlignmentUniformity(g) for g in (0.2, 0.5, 1.0, 2.0, 5.0)]
    args, space = {"num_layers": 2, "l2": 1e-6}, {"objective": Choice(*objectives)} | L2
    return _trained("lightgcn-directau", LightGCN, args, space, objective=objectives[2])


def bprmf() -> Experiment:
    """Matrix factorisation under BPR; with an l2 of 1e-3 it has a third of this quality."""
    return _trained("bprmf", BPRMF, {"l2": 0.052}, L2, rate=2.2e-3)


def bprmf_ccl() -> Experiment:
    """Matrix factorisation under SimpleX's cosine contrastive loss, ranked by cosines.

    At a rate of 2e-3 it is still near chance after 600 steps: all users and videos first gather at one place.
    """
    objectives = [CosineContrastive(100, margin, weight) for margin in (0.0, 0.2, 0.4) for weight in (20.0, 100.0)]
    args, space = {"l2": 1e-6, "head": CosineHead(1.0)}, {"objective": Choice(*objectives)} | L2
    return _trained("bprmf-ccl", BPRMF, args, space, rate=1e-2, objective=objectives[0])


def ngcf() -> Experiment:
    """NGCF."""
    return _trained("ngcf", NGCF, {"l2": 1e-4}, L2)


def lightgcnpp() -> Experiment:
    """LightGCN++."""
    own: dict[str, Range] = {"model_args.beta": Choice(-0.1, 0.0, 0.1), "model_args.gamma": Choice(0.0, 0.1, 0.2)}
    return _trained("lightgcnpp", LightGCNPP, {"l2": 1e-3, "beta": -0.1, "gamma": 0.2}, L2 | own)


def layergcn() -> Experiment:
    """LayerGCN, a tenth of the edges left out at each epoch."""
    drop = (EdgeDrop(0.1, degree_sensitive=True),)
    return _trained("layergcn", LayerGCN, {"l2": 1e-3}, L2, epoch_transforms=drop)


def ultragcn() -> Experiment:
    """UltraGCN."""
    own: dict[str, Range] = {
        "model_args.negative_weight": Uniform(10.0, 300.0, log=True),
        "model_args.videos": Uniform(1e-4, 3.0, log=True),
    }
    return _trained("ultragcn", UltraGCN, {"negative_weight": 200.0, "videos": 1e-3}, own)


def sgl() -> Experiment:
    """SGL, edges dropped."""
    return _trained("sgl", SGL, {"l2": 1e-3, "contrast": 0.1}, L2 | CONTRAST, epoch_transforms=(EdgeViews(0.1),))


def simgcl() -> Experiment:
    """SimGCL."""
    return _trained("simgcl", SimGCL, {"l2": 1e-4, "contrast": 0.5}, L2 | CONTRAST)


def xsimgcl() -> Experiment:
    """XSimGCL."""
    return _trained("xsimgcl", XSimGCL, {"l2": 1e-4, "contrast": 0.2}, L2 | CONTRAST)


def lightgcl() -> Experiment:
    """LightGCL."""
    return _trained("lightgcl", LightGCL, {"contrast": 0.2, "l2": 1e-6}, L2 | CONTRAST)


def pinsage() -> Experiment:
    """PinSage, neighbours by random walks; it reads the features too."""
    return _trained("pinsage", PinSage, {}, {}, transforms=(*SCALED, RandomWalkNeighbours(10)))


def multvae() -> Experiment:
    """Mult-VAE."""
    own: dict[str, Range] = {"model_args.beta": Uniform(0.05, 1.0), "model_args.dropout": Uniform(0.2, 0.8)}
    return _trained("multvae", MultVAE, {"beta": 0.2, "dropout": 0.5}, own)
