"""A model is asked in evaluation mode while it trains."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mmgraph.models import LightGCN, SASRec
from mmgraph.nn import evaluating
from tests.worlds import checkerboard


def test_the_copy_evaluates_while_the_model_stays_in_training():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4))).train()
    before = copy.deepcopy(model.state_dict())
    x = torch.ones(8, 4)
    out = evaluating(model)(x)
    assert all(layer.training for layer in model.modules())
    assert torch.equal(out, copy.deepcopy(model).eval()(x))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_parameters_are_shared_and_a_layer_that_occurs_twice_stays_one():
    layer = nn.Linear(3, 3)
    model = nn.ModuleList([layer, layer, nn.GRU(3, 3, batch_first=True)])
    twin = evaluating(model)
    assert twin[0] is twin[1] is not layer
    assert twin[0].weight is layer.weight
    x = torch.ones(1, 2, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    assert torch.equal(twin[2](x)[0], model[2](x)[0])  # the weights of now, in the recurrent layer's own list too
    layer.weight = nn.Parameter(torch.zeros(3, 3))
    assert evaluating(model)[0].weight is layer.weight


def test_a_recommender_encodes_and_scores_on_the_copy():
    graph = checkerboard()
    torch.manual_seed(0)
    model = SASRec(graph, embedding_dim=8, dropout=0.5).train()
    twin = evaluating(model)
    emb = twin.encode(graph)
    users = torch.arange(3)
    model.eval()
    expected = model.encode(graph)
    assert torch.equal(emb.user, expected.user)
    assert torch.equal(twin.score(emb, users), model.score(expected, users))
    assert isinstance(evaluating(LightGCN(graph)), LightGCN)
