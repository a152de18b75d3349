"""A step of everything on a device that is not the CPU: nothing may be made beside it."""

from __future__ import annotations

import inspect

import pytest
import torch

import mmgraph.models as zoo
import mmgraph.objectives as objectives
from mmgraph.graph import (
    DenoisedKNN,
    EdgeDrop,
    EdgeViews,
    JoinKNN,
    ModalityKNN,
    RandomWalkNeighbours,
    UserCoInteraction,
    VideoCoInteraction,
)
from mmgraph.models import LightGCN, Recommender
from mmgraph.objectives import Objective
from mmgraph.ops.dispatch import autocast_type
from mmgraph.testing import alike, twelve_nodes
from tests.elsewhere import Away, Elsewhere, Mixed

TRAINED = [
    value
    for value in vars(zoo).values()
    if inspect.isclass(value) and issubclass(value, Recommender) and value is not Recommender and not value.closed_form
]
OBJECTIVES = [
    value
    for value in vars(objectives).values()
    if inspect.isclass(value) and issubclass(value, Objective) and value.__call__ is not Objective.__call__
]
TRANSFORMS = [
    ModalityKNN("visual", 3, loops=True),
    DenoisedKNN(3),
    JoinKNN("agree", "agree"),
    UserCoInteraction(3),
    VideoCoInteraction(3),
    RandomWalkNeighbours(3, 5),
    EdgeDrop(0.2, degree_sensitive=True),
    EdgeViews(0.2),
]


def world():
    graph = alike(twelve_nodes())
    graph["user", "interacts", "video"].time = torch.arange(10.0).double()
    return EdgeViews(0.1)(graph, torch.Generator().manual_seed(0))


def step(make) -> dict[str, torch.Tensor]:
    """The terms of a step there, after its gradients, and a ranking."""
    torch.manual_seed(0)
    graph = world()
    model = make(graph)
    with Elsewhere():
        model, graph = model.to("meta"), graph.to("meta")
        assert all(isinstance(t, Away) for t in model.state_dict().values())
        for batch in model.sampler(graph, 8).epoch(0, 0):
            terms = model.loss(graph, batch)
            torch.stack(list(terms.values())).sum().backward()
        with torch.no_grad():
            scores = model.eval().score(model.encode(graph), torch.arange(5, device="meta"))
        assert isinstance(scores, Away)
        return {name: term.detach().cpu() for name, term in terms.items()}


@pytest.mark.parametrize("cls", TRAINED)
def test_a_step_of_every_trained_model_stays_on_its_device(cls):
    small = {"embedding_dim": 16} if "embedding_dim" in cls.arguments() else {}
    terms = step(lambda graph: cls(graph, **small))
    assert all(bool(term.isfinite()) for term in terms.values())


@pytest.mark.parametrize("cls", [zoo.LATTICE, zoo.DiffMM])
def test_a_step_of_one_modality_which_needs_no_weight_stays_on_its_device(cls):
    terms = step(lambda graph: cls(graph, embedding_dim=8, modalities=["visual"]))
    assert all(bool(term.isfinite()) for term in terms.values())


@pytest.mark.parametrize("cls", OBJECTIVES)
def test_a_step_under_every_objective_stays_on_its_device(cls):
    terms = step(lambda graph: LightGCN(graph, embedding_dim=8, objective=cls()))
    assert all(bool(term.isfinite()) for term in terms.values())


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
def test_a_transform_leaves_the_graph_on_its_device(transform):
    graph = world()
    with Elsewhere():
        out = transform(graph.to("meta"), torch.Generator().manual_seed(0))
        tensors = [v for kind in (*out.node_types, *out.edge_types) for v in out[kind].values()]
        assert all(isinstance(t, Away) for t in tensors if isinstance(t, torch.Tensor))


def test_autocast_is_asked_of_devices_that_have_it():
    with torch.autocast("cpu", torch.bfloat16):
        assert autocast_type(torch.ones(1)) is torch.bfloat16
        assert autocast_type(torch.ones(1, device="meta")) is None
    assert autocast_type(torch.ones(1)) is None


CLOSED = [
    value
    for value in vars(zoo).values()
    if inspect.isclass(value) and issubclass(value, Recommender) and value.closed_form
]


@pytest.mark.parametrize("cls", CLOSED)
def test_a_closed_form_is_solved_on_its_device(cls):
    graph = world()
    with Elsewhere():
        model, graph = cls(graph).to("meta"), graph.to("meta")
        model.solve(graph)
        with torch.no_grad():
            scores = model.score(model.encode(graph), torch.arange(5, device="meta"))
        assert isinstance(scores, Away)
        assert bool(scores.cpu().isfinite().all())


def test_the_device_notices_a_tensor_made_beside_it():
    with Elsewhere():
        x = torch.ones(3).to("meta")
        assert (x + torch.tensor(1.0)).cpu().tolist() == [2, 2, 2]
        assert (x * torch.arange(3, device=x.device)).sum().item() == 3
        x[1:] = 5
        assert x.cpu().tolist() == [1, 5, 5]
        with pytest.raises(Mixed, match="on the CPU"):
            x + torch.ones(3)

    class Careless(LightGCN):
        def loss(self, graph, batch):
            terms = super().loss(graph, batch)
            return terms | {"l2": (self.embedding * torch.zeros(12, 1)).sum()}

    with pytest.raises(Mixed):
        step(lambda graph: Careless(graph, embedding_dim=8))
