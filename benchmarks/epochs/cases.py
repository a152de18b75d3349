"""Which models are timed, beside which ports, on which graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from torch import nn

from benchmarks.epochs import collaborative, content, generated, likeness, tastes
from benchmarks.epochs.ports import PRODUCTS, Make, PlainFREEDOM, PlainLightGCN, PlainMMGCN, PlainVBPR, Port, torch_coo
from mmgraph import models
from mmgraph.graph import (
    DenoisedKNN,
    EdgeDrop,
    EdgeViews,
    JoinKNN,
    ModalityKNN,
    RandomWalkNeighbours,
    Transform,
    UserCoInteraction,
    VideoCoInteraction,
)
from mmgraph.graph.multimodal import MultimodalGraph

Made = TypeVar("Made", bound=nn.Module)
COO: dict[str, Make] = {"torch_coo": torch_coo}


class Case(NamedTuple):
    """A model, the same as toolboxes write it, and what it is given."""

    model: Callable[..., models.Recommender]
    plain: Callable[..., Port]
    arguments: dict[str, Any]
    products: dict[str, Make] = COO
    transform: Callable[[MultimodalGraph], MultimodalGraph] = lambda graph: graph
    epoch_transform: Transform | None = None
    close: float = 1e-4
    """How far apart, in parts of one, the terms of both may lie on the graph that is timed."""


def mixed(graph: MultimodalGraph) -> MultimodalGraph:
    """The kNN graph that FREEDOM reads."""
    for m in graph.modalities:
        graph = ModalityKNN(m, 9, "binary", loops=True, share=1 / len(graph.modalities))(graph)
    return graph


def alike(graph: MultimodalGraph) -> MultimodalGraph:
    """A kNN graph a modality."""
    for m in graph.modalities:
        graph = ModalityKNN(m, 10, loops=True)(graph)
    return graph


def joined(graph: MultimodalGraph) -> MultimodalGraph:
    """The same, and their union."""
    return JoinKNN("max")(alike(graph))


def agreed(graph: MultimodalGraph) -> MultimodalGraph:
    """A kNN graph a modality, and the edges that several have."""
    return JoinKNN("agree", "agree")(alike(graph))


def denoised(graph: MultimodalGraph) -> MultimodalGraph:
    """Videos alike in all modalities, and those watched together."""
    return VideoCoInteraction(5)(DenoisedKNN(5)(graph))


def minded(graph: MultimodalGraph) -> MultimodalGraph:
    """A kNN graph a modality, and like-minded users."""
    return UserCoInteraction(40)(alike(graph))


def quiet(module: Made) -> Made:
    """The module without dropout and noise, so that a model and its port make the same numbers."""
    for part in module.eval().modules():
        if "noise" in vars(part):
            vars(part)["noise"] = 0.0
    return module


THINNED, LOCAL = (EdgeDrop(rate, degree_sensitive=True) for rate in (0.8, 0.7))
MODELS = {
    "lightgcn": Case(models.LightGCN, PlainLightGCN, {"num_layers": 3}, PRODUCTS),
    # without a graph there is one way to write it
    "vbpr": Case(models.VBPR, PlainVBPR, {}, {"torch_dense": torch_coo}),
    "freedom": Case(models.FREEDOM, PlainFREEDOM, {}, PRODUCTS, mixed, THINNED),
    "mmgcn": Case(models.MMGCN, PlainMMGCN, {"num_layers": 2}, PRODUCTS),
    "bprmf": Case(models.BPRMF, collaborative.PlainBPRMF, {}, {"torch_dense": torch_coo}),
    "ngcf": Case(models.NGCF, collaborative.PlainNGCF, {}),
    "layergcn": Case(models.LayerGCN, collaborative.PlainLayerGCN, {}, epoch_transform=EdgeDrop(0.1)),
    "lightgcnpp": Case(models.LightGCNPP, collaborative.PlainLightGCNPP, {}),
    "sgl": Case(models.SGL, collaborative.PlainSGL, {}, epoch_transform=EdgeViews(0.1)),
    "simgcl": Case(models.SimGCL, collaborative.PlainSimGCL, {}),
    "xsimgcl": Case(models.XSimGCL, collaborative.PlainXSimGCL, {}),
    "lightgcl": Case(models.LightGCL, collaborative.PlainLightGCL, {}),
    "grcn": Case(models.GRCN, tastes.PlainGRCN, {}, {"torch_scatter": torch_coo}),
    "dualgnn": Case(models.DualGNN, tastes.PlainDualGNN, {}, transform=minded),
    "dragon": Case(models.DRAGON, tastes.PlainDRAGON, {}, transform=minded),
    "lattice": Case(models.LATTICE, likeness.PlainLATTICE, {}, transform=alike),
    "micro": Case(models.MICRO, likeness.PlainMICRO, {}, transform=alike),
    "slmrec": Case(models.SLMRec, content.PlainSLMRec, {}),
    "bm3": Case(models.BM3, content.PlainBM3, {}),
    "mgcn": Case(models.MGCN, likeness.PlainMGCN, {}, transform=alike),
    "smore": Case(models.SMORE, likeness.PlainSMORE, {}, transform=joined),
    "lgmrec": Case(models.LGMRec, content.PlainLGMRec, {}),
    "pgl": Case(models.PGL, content.PlainPGL, {}, transform=alike, epoch_transform=LOCAL),
    "gume": Case(models.GUME, likeness.PlainGUME, {}, transform=agreed),
    "mentor": Case(models.MENTOR, tastes.PlainMENTOR, {}, transform=minded),
    "mvgae": Case(models.MVGAE, tastes.PlainMVGAE, {}),
    "damrs": Case(models.DAMRS, content.PlainDAMRS, {}, transform=denoised),
    "cohesion": Case(models.COHESION, tastes.PlainCOHESION, {}, transform=minded),
    "ultragcn": Case(models.UltraGCN, collaborative.PlainUltraGCN, {}, {"torch_dense": torch_coo}),
    # the KL weighs its full beta from the first batch on, so that it is compared too
    "multvae": Case(models.MultVAE, collaborative.PlainMultVAE, {"anneal_steps": 0}, {"torch_dense": torch_coo}),
    "pinsage": Case(models.PinSage, content.PlainPinSage, {}, transform=RandomWalkNeighbours(10)),
    "hetero_mmgcn": Case(models.HeteroMMGCN, content.PlainHeteroMMGCN, {}),
    # videos that the same people watched have one cosine with everybody: which of them are a user's best is free
    "mmssl": Case(models.MMSSL, generated.PlainMMSSL, {}, close=5e-3),
    "diffmm": Case(models.DiffMM, generated.PlainDiffMM, {"anchor": "modalities"}),
}
