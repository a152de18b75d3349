"""Optimisers against closed forms and torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmgraph.config import SettingError
from mmgraph.models import LightGCN
from mmgraph.train import Adam, AdamW, FitConfig, Optimiser, RowwiseAdagrad, SparseAdam, fit
from tests.worlds import checkerboard

ROWS = torch.tensor([[1, 4], [4, 2], [0, 0]])  # rows that three batches touch, one of them twice


def trained(make, sparse: bool) -> torch.Tensor:
    """A table after three steps on ``ROWS``."""
    torch.manual_seed(0)
    table = nn.Embedding(6, 3, sparse=sparse)
    optimizer = make(list(table.parameters()))
    for rows in ROWS:
        optimizer.zero_grad(set_to_none=True)
        (table(rows).square() * torch.tensor([1.0, 2, 3])).sum().backward()
        optimizer.step()
    return table.weight.detach()


def test_sparse_adam_equals_torchs_and_takes_dense_gradients_by_rows():
    theirs = trained(lambda p: torch.optim.SparseAdam(p, lr=0.1, betas=(0.8, 0.9), eps=1e-6), sparse=True)
    ours = SparseAdam(betas=(0.8, 0.9), eps=1e-6)
    for sparse in (True, False):
        torch.testing.assert_close(trained(lambda p: ours.make(p, 0.1, 0.0), sparse), theirs)
    untouched = torch.tensor([3, 5])
    torch.manual_seed(0)
    assert torch.equal(theirs[untouched], nn.Embedding(6, 3).weight[untouched])


def test_rowwise_adagrad_is_its_formula():
    torch.manual_seed(0)
    expected, sums = nn.Embedding(6, 3).weight.detach().clone(), torch.full((6,), 0.5)
    for rows in ROWS:
        grad = torch.zeros(6, 3)
        for row in rows.tolist():
            grad[row] += 2 * expected[row] * torch.tensor([1.0, 2, 3])
        sums += grad.square().mean(1)
        expected -= 0.1 * grad / (sums.sqrt() + 1e-3).unsqueeze(1)
    optimiser = RowwiseAdagrad(initial=0.5, eps=1e-3)
    for sparse in (True, False):
        torch.testing.assert_close(trained(lambda p: optimiser.make(p, 0.1, 0.0), sparse), expected)


def test_scalars_and_vectors_have_one_sum_an_entry():
    scalar, vector = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor([1.0, 3.0]))
    optimizer = RowwiseAdagrad(eps=1e-12).make([scalar, vector], 0.5, 0.0)
    (3 * scalar + (vector * torch.tensor([4.0, -5.0])).sum()).backward()
    optimizer.step()  # a first step of Adagrad is lr · sign(g)
    torch.testing.assert_close(scalar.detach(), torch.tensor(1.5))
    torch.testing.assert_close(vector.detach(), torch.tensor([0.5, 3.5]))


@pytest.mark.parametrize("optimiser", [Adam(), AdamW(), SparseAdam(), RowwiseAdagrad()])
def test_each_trains(optimiser):
    torch.manual_seed(0)
    model = LightGCN(checkerboard(), embedding_dim=8, num_layers=1)
    config = FitConfig(epochs=6, batch_size=64, learning_rate=0.05, optimizer=optimiser)
    report = fit(model, checkerboard(), config=config)
    assert report.history[-1]["loss/bpr"] < 0.7 * report.history[0]["loss/bpr"]


def test_adam_is_torchs_and_adamw_decays_apart_from_the_gradient():
    def step(optimiser: Optimiser) -> torch.Tensor:
        parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = optimiser.make([parameter], 0.1, 0.5)
        parameter.grad = torch.tensor([3.0, 3.0])
        optimizer.step()
        return parameter.detach()

    # the first step of Adam is lr · sign(g + wd θ); AdamW's is lr · sign(g) after θ (1 - lr wd)
    torch.testing.assert_close(step(Adam()), torch.tensor([0.9, -2.1]))
    torch.testing.assert_close(step(AdamW()), torch.tensor([0.95 - 0.1, -1.9 - 0.1]))


def test_a_weight_decay_that_an_optimiser_lacks_is_refused():
    model = LightGCN(checkerboard(), embedding_dim=8)
    for optimiser in (SparseAdam(), RowwiseAdagrad()):
        config = FitConfig(epochs=1, weight_decay=0.1, optimizer=optimiser)
        with pytest.raises(ValueError, match=r"weight_decay=0.1, but \w+ has none.*AdamW"):
            fit(model, checkerboard(), config=config)


class Descent(Optimiser):
    """Plain gradient descent, written outside the library."""

    momentum: float = 0.0

    def make(self, parameters, learning_rate, weight_decay):
        return torch.optim.SGD(parameters, lr=learning_rate, momentum=self.momentum)


def test_an_optimiser_from_outside_is_given_as_an_object():
    config = FitConfig(epochs=1, batch_size=2048, learning_rate=0.5, optimizer=Descent())
    model = LightGCN(checkerboard(), embedding_dim=8)
    before = model.embedding.detach().clone()
    fit(model, checkerboard(), config=config)
    assert not torch.equal(model.embedding, before)
    assert repr(config.optimizer) == "Descent()"
    assert config.model_dump()["optimizer"] == {"kind": "Descent", "momentum": 0.0}
    assert Adam(eps=1e-3).model_dump()["kind"] == "adam"


def test_optimisers_are_objects_and_a_saved_one_is_read_back():
    config = FitConfig(optimizer=AdamW(betas=(0.8, 0.9)))
    assert FitConfig.model_validate(config.model_dump(mode="json")) == config
    for wrong in ("adam", torch.optim.Adam):
        with pytest.raises(SettingError, match=r"optimizer takes an object, such as Adam\(\)"):
            FitConfig(optimizer=wrong)
    with pytest.raises(SettingError, match="kind 'adamv'; did you mean 'adam"):
        FitConfig.model_validate({"optimizer": {"kind": "adamv"}})
    with pytest.raises(SettingError, match="'beta'; did you mean 'betas'"):
        FitConfig.model_validate({"optimizer": {"kind": "adamw", "beta": 1}})
    with pytest.raises(SettingError, match="must be less than 1"):
        Adam(betas=(0.9, 1.0))
