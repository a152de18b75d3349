"""Every export on a graph that lacks what it reads: an error that names what is missing and what mends it."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

import mmgraph.graph
import mmgraph.models as zoo
from mmgraph.graph import EdgeViews, UserCoInteraction, VideoCoInteraction
from mmgraph.models import DAMRS, GUME, DualGNN, PinSage, Recommender
from mmgraph.nn.projection import FeatureLinear, expect_width, projections
from mmgraph.testing import alike, twelve_nodes

MODELS = [
    value
    for value in vars(zoo).values()
    if inspect.isclass(value) and issubclass(value, Recommender) and value is not Recommender
]
TRANSFORMS = [name for name in mmgraph.graph.__all__ if name[0].isupper()]


def full(modalities=("visual", "audio")):
    return EdgeViews(0.1)(alike(twelve_nodes(modalities)), torch.Generator().manual_seed(0))


def read(cls, made_from, used=None, **arguments) -> None:
    """Makes the model, and has it read a graph as training and ranking do."""
    small = {"embedding_dim": 16} if "embedding_dim" in cls.arguments() else {}
    model = cls(made_from, **small, **arguments)
    graph = made_from if used is None else used
    if model.closed_form:
        model.solve(graph)
    else:
        model.loss(graph, next(iter(model.sampler(graph, 8).epoch(0, 0))))
    with torch.no_grad():
        model.eval().encode(graph)


def said(cls, *graphs, **arguments) -> str:
    """What the error says; empty where there is none. No other kind of error is let through."""
    try:
        read(cls, *graphs, **arguments)
    except (ValueError, KeyError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("later", [False, True], ids=["made", "used"])
@pytest.mark.parametrize("cls", MODELS)
def test_edges_that_are_missing_are_named_with_the_transform_that_adds_them(cls, later):
    """Whether the model is made from a graph without them, or meets one when it is used."""
    graphs = (full(), twelve_nodes()) if later else (twelve_nodes(),)
    told = said(cls, *graphs)
    reads = re.search(r"similar_|co_watched|watched_with|walked|view_", inspect.getsource(inspect.getmodule(cls)))
    if told:
        assert re.search(r"similar_\w+|co_watched|watched_with|walked|view_\d", told), told
        assert any(re.search(rf"\b{name}\b", told) for name in TRANSFORMS), told
    else:
        others = {"SimGCL", "XSimGCL", "UltraGCN"}  # a class beside it reads them, or a function has that name
        assert reads is None or cls.__name__ in others, f"{cls.__name__} read a graph without its edges"


@pytest.mark.parametrize("cls", MODELS)
def test_a_graph_without_any_modality_is_refused_by_those_that_need_one(cls):
    bare = twelve_nodes(())
    bare = EdgeViews(0.1)(UserCoInteraction(3)(VideoCoInteraction(3, least=1)(bare)), torch.Generator().manual_seed(0))
    bare = mmgraph.graph.RandomWalkNeighbours(5, 20)(bare)
    told = said(cls, bare)
    needs = cls.__module__.split(".")[2] == "multimodal" or cls in (zoo.ContentKNN, zoo.ContentMean)
    assert not needs or "modalit" in told, told


@pytest.mark.parametrize("cls", [cls for cls in MODELS if "modalities" in cls.arguments()], ids=lambda c: c.__name__)
def test_a_modality_that_is_not_there_and_one_of_another_width_are_named(cls):
    told = said(cls, full(), modalities=["smell"])
    assert "smell" in told
    assert "visual" in told, "which there are is not said"
    wide = full()
    wide["visual"].x = torch.randn(6, 9)
    told = said(cls, full(), wide, modalities=["visual"])
    any_width = cls in (zoo.AddEASE, zoo.ContentKNN, DAMRS)  # solved anew from what there is, or reads edges alone
    assert any_width or "visual: width 9, but the model was made for 5" in told


def test_a_layer_over_features_knows_whose_they_are():
    layers = projections(twelve_nodes(), ["audio"], 4, bias=False)
    assert isinstance(layers["audio"], FeatureLinear)
    assert layers["audio"].weight.shape == (4, 3)
    assert layers["audio"].bias is None
    with pytest.raises(
        ValueError,
        match="width 5, but the model was made for 3: give it features of the encoder that it was trained on",
    ):
        layers["audio"](torch.ones(2, 5))
    assert expect_width("audio", torch.ones(2, 3), 3) is None


def test_each_transform_is_asked_for_by_its_own_model():
    assert "JoinKNN" in said(GUME, full(), twelve_nodes()) or "ModalityKNN" in said(GUME, full(), twelve_nodes())
    for cls, transform in ((DAMRS, "VideoCoInteraction"), (DualGNN, "UserCoInteraction"), (PinSage, "RandomWalk")):
        assert transform in said(cls, full(), twelve_nodes())
        assert transform in said(cls, twelve_nodes())
