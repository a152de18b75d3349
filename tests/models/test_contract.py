"""Every export of mmgraph.models passes the public contract tests; a class without its contract fails."""

from __future__ import annotations

import inspect

import pytest
import torch

import mmgraph.models as zoo
from mmgraph.graph import EdgeViews, PairBatch
from mmgraph.models import Embeddings, Recommender, batch_rows
from mmgraph.models.base import distinct
from mmgraph.objectives import FullSoftmax
from mmgraph.testing import ModelContract, checkerboard
from mmgraph.train import FitConfig, fit

# What a model needs to be trained on the checkerboard, where it is not the default.
SETTINGS: dict[str, dict] = {
    "Popularity": {"least": 0.0},
    # trained on, the in-batch softmax pushes the held-out pairs down: they stand in the batch as negatives
    "DSSM": {"epochs": 20},
    # a strong contrast sets the 12 like videos of this world as far apart as it can, and their mean against each
    "SimGCL": {"arguments": {"contrast": 0.01}},
    "LightGCL": {"arguments": {"contrast": 0.01}},
    "SGL": {"epoch_transforms": (EdgeViews(0.1),)},
    "UltraGCN": {"arguments": {"negatives": 10, "negative_weight": 10.0}},
}
MODELS = [
    value
    for value in vars(zoo).values()
    if inspect.isclass(value) and issubclass(value, Recommender) and value is not Recommender
]
CHECKS = [name for name in dir(ModelContract) if name.startswith("test_")]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("cls", MODELS)
def test_contract(cls, check):
    contract = type(cls.__name__, (ModelContract,), {"model": cls} | SETTINGS.get(cls.__name__, {}))()
    getattr(contract, check)()
    assert contract.build is not None


def contract_of(cls) -> ModelContract:
    return type(cls.__name__, (ModelContract,), {"model": cls} | SETTINGS.get(cls.__name__, {}))()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("cls", MODELS)
def test_on_a_gpu_as_on_the_cpu(cls):
    """An epoch runs there, and what it left gives the same embeddings on either device."""
    contract = contract_of(cls)
    graph = type(contract).transform(checkerboard())
    model = contract.build(graph)
    fit(
        model,
        graph,
        config=FitConfig(epochs=1, batch_size=64, device="cuda"),
        epoch_transforms=contract.epoch_transforms,
    )
    users = torch.arange(8)
    model.cpu().eval()
    graph = graph.cpu()  # training took it along with the model
    with torch.no_grad():
        here = model.score(model.encode(graph), users)
        there = model.to("cuda").score(model.encode(graph.to("cuda")), users.cuda())
    assert there.device.type == "cuda"
    assert torch.isfinite(here).all()
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)


def test_the_contract_notices_a_model_that_does_not_propagate():
    """A graph model whose ``rows`` forget the graph fails."""

    class Broken(zoo.LightGCN):
        def encode(self, graph, rows=zoo.ALL):
            whole = super().encode(graph)
            return whole if rows.user is None else rows.of(*super().encode(graph).__class__(*(2 * t for t in whole)))

    with pytest.raises(AssertionError):
        type("Contract", (ModelContract,), {"model": Broken})().test_rows_equal_everything()


def test_batch_rows_names_each_row_once_and_keeps_the_batch():
    batch = PairBatch(torch.tensor([7, 2, 7]), torch.tensor([5, 5, 1]), torch.tensor([[1, 9], [9, 9], [3, 5]]))
    rows, at = batch_rows(batch)
    assert rows.user.tolist() == [2, 7]
    assert rows.video.tolist() == [1, 3, 5, 9]
    assert torch.equal(rows.user[at.user], batch.user)
    assert torch.equal(rows.video[at.positive], batch.positive)
    assert torch.equal(rows.video[at.negative], batch.negative)
    every, at = batch_rows(batch, FullSoftmax())
    assert every.video is None
    assert torch.equal(at.positive, batch.positive)
    shared, at = batch_rows(batch._replace(negative=torch.tensor([9, 3])))
    assert torch.equal(shared.video[at.negative], torch.tensor([9, 3]))


def test_distinct_rows_are_the_same_marked_or_sorted():
    drawn = torch.randint(9, (4, 50), generator=torch.Generator().manual_seed(0)) * 2  # of 17 rows, the even ones
    for rows in (drawn, drawn * 1000, drawn[:0], torch.tensor([5])):
        once, place = distinct(rows)
        assert once.tolist() == sorted(set(rows.flatten().tolist()))
        assert torch.equal(once[place], rows)


def test_embeddings_score_with_the_dot_product():
    model = Recommender()
    emb = Embeddings(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    assert model.score(emb, torch.tensor([0])).tolist() == [[11.0, 17.0]]
    assert model.score(emb, torch.tensor([0]), torch.tensor([[1]])).tolist() == [[17.0]]
