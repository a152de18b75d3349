"""What every model must do, looped over the exports of mmgraph.models."""

from __future__ import annotations

import inspect

import pytest
import torch

import mmgraph.models as zoo
from mmgraph.graph import ModalityKNN
from mmgraph.graph.samplers import PairBatch
from mmgraph.models import Embeddings, Recommender, Rows
from mmgraph.models.base import batch_rows
from mmgraph.train import FitConfig, fit
from tests import worlds

MODELS = [
    value
    for value in vars(zoo).values()
    if inspect.isclass(value) and issubclass(value, Recommender) and value is not Recommender
]
TRAINED = [m for m in MODELS if not m.closed_form]


def checkerboard():
    return alike(worlds.checkerboard())


def twelve_nodes():
    return alike(worlds.twelve_nodes())


def alike(graph):
    """The graph with the ``similar_`` edges that some models read."""
    for m in graph.modalities:
        graph = ModalityKNN(m, k=3, weight="binary", loops=True, share=0.5)(graph)
    return graph


def build(cls: type[Recommender], graph, **more) -> Recommender:
    torch.manual_seed(0)
    small = {"embedding_dim": 16} if "embedding_dim" in inspect.signature(cls).parameters else {}
    return cls(graph, **(small | more))


def train(cls: type[Recommender], graph, epochs: int = 60) -> Recommender:
    model = build(cls, graph)
    fit(model, graph, config=FitConfig(epochs=epochs, batch_size=64, learning_rate=0.01), seed=1)
    return model


@pytest.mark.parametrize("cls", MODELS)
def test_checkerboard(cls):
    """The held-out diagonal comes first among the videos a user has not seen. Popularity cannot know it."""
    graph = checkerboard()
    model = train(cls, graph)
    with torch.no_grad():
        emb = model.encode(graph)
        scores = model.score(emb, torch.arange(24)).clone()
    user, video = graph.interactions()
    scores[user, video] = -torch.inf
    right = (scores.argmax(1) == torch.arange(24)).float().mean()
    if cls is zoo.Popularity:
        assert right < 0.5
    else:
        assert right >= 0.95


@pytest.mark.parametrize("cls", MODELS)
def test_rows_equal_everything(cls):
    """``encode(graph, rows)`` gives the same numbers as the rows of ``encode(graph)``, isolated nodes included."""
    graph = twelve_nodes()
    model = build(cls, graph)
    if cls.closed_form:
        model.solve(graph)
    rows = Rows(torch.tensor([4, 0, 2]), torch.tensor([6, 1, 5, 2]))
    whole, part = model.encode(graph), model.encode(graph, rows)
    user = whole.user.to_dense() if whole.user.layout != torch.strided else whole.user
    torch.testing.assert_close(part.user, user[rows.user], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(part.video, whole.video[rows.video], atol=1e-6, rtol=1e-6)
    every = model.score(whole, rows.user)
    assert every.shape == (3, 7)
    assert torch.isfinite(every).all()
    some = model.score(whole, rows.user, torch.tensor([[0, 6], [1, 1], [5, 2]]))
    torch.testing.assert_close(some, every.gather(1, torch.tensor([[0, 6], [1, 1], [5, 2]])))


@pytest.mark.parametrize("cls", TRAINED)
def test_rows_give_the_same_gradients(cls):
    """The gradient through ``rows`` equals the gradient through the full computation."""
    graph = twelve_nodes()
    rows = Rows(torch.tensor([4, 0, 2]), torch.tensor([6, 1, 5, 2]))
    gradients = []
    for restricted in (False, True):
        model = build(cls, graph)
        emb = model.encode(graph, rows) if restricted else model.encode(graph)
        user, video = emb if restricted else (emb.user[rows.user], emb.video[rows.video])
        (user.square().sum() + (video * torch.arange(1.0, 5.0).unsqueeze(1)).sum()).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    for name, full in gradients[0].items():
        if full is not None:
            torch.testing.assert_close(gradients[1][name], full, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cls", TRAINED)
def test_every_parameter_gets_a_gradient(cls):
    graph = twelve_nodes()
    model = build(cls, graph)
    for batch in model.sampler(graph, 8).epoch(0, 0):
        sum(model.loss(graph, batch).values()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


@pytest.mark.parametrize("cls", MODELS)
def test_same_seed_same_numbers(cls):
    graph = twelve_nodes()
    first, second = (train(cls, graph, epochs=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_batch_rows_names_each_row_once_and_keeps_the_batch():
    batch = PairBatch(torch.tensor([7, 2, 7]), torch.tensor([5, 5, 1]), torch.tensor([[1, 9], [9, 9], [3, 5]]))
    rows, at = batch_rows(batch)
    assert rows.user.tolist() == [2, 7]
    assert rows.video.tolist() == [1, 3, 5, 9]
    assert torch.equal(rows.user[at.user], batch.user)
    assert torch.equal(rows.video[at.positive], batch.positive)
    assert torch.equal(rows.video[at.negative], batch.negative)


def test_embeddings_score_with_the_dot_product():
    model = Recommender()
    emb = Embeddings(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    assert model.score(emb, torch.tensor([0])).tolist() == [[11.0, 17.0]]
    assert model.score(emb, torch.tensor([0]), torch.tensor([[1]])).tolist() == [[17.0]]
