"""LightGCN and BPR-MF against the same maths on dense matrices."""

from __future__ import annotations

import pytest
import torch

from mmgraph.graph.samplers import PairBatch
from mmgraph.models import BPRMF, LightGCN
from tests.worlds import twelve_nodes


def dense_adjacency(graph) -> torch.Tensor:
    n = graph.num_users + graph.num_videos
    a = torch.zeros(n, n, dtype=torch.float64)
    for u, v in zip(*(t.tolist() for t in graph.interactions()), strict=True):
        a[u, graph.num_users + v] = a[graph.num_users + v, u] = 1
    return a


@pytest.mark.parametrize("weights", [None, [0.1, 0.2, 0.3, 0.4]])
def test_equals_the_dense_form(weights):
    graph = twelve_nodes()
    torch.manual_seed(3)
    model = LightGCN(graph, embedding_dim=8, num_layers=3, layer_weights=weights).double()
    a = dense_adjacency(graph)
    scale = a.sum(1).clamp_min(1).rsqrt()
    norm = scale[:, None] * a * scale[None]
    e, layers = model.embedding, []
    for _ in range(4):
        layers.append(e)
        e = norm @ e
    alphas = weights or [0.25] * 4
    expected = sum(w * layer for w, layer in zip(alphas, layers, strict=True))
    emb = model.encode(graph)
    torch.testing.assert_close(torch.cat(emb), expected, atol=1e-6, rtol=1e-6)
    isolated = expected[4] / alphas[0]  # no edge: only layer 0 reaches it
    torch.testing.assert_close(isolated, model.embedding[4])


def test_loss_is_log_sigmoid_of_differences_plus_l2():
    graph = twelve_nodes()
    model = LightGCN(graph, embedding_dim=4, num_layers=1, l2=0.5)
    batch = PairBatch(torch.tensor([0, 1]), torch.tensor([1, 3]), torch.tensor([[6], [4]]))
    emb = model.encode(graph)
    x = (emb.user[batch.user] * (emb.video[batch.positive] - emb.video[batch.negative[:, 0]])).sum(1)
    terms = model.loss(graph, batch)
    torch.testing.assert_close(terms["bpr"], -torch.log(torch.sigmoid(x)).mean())
    read = model.embedding[torch.tensor([0, 1, 5 + 1, 5 + 3, 5 + 6, 5 + 4])]
    torch.testing.assert_close(terms["l2"], 0.5 * read.square().sum() / 2 / 2)


def test_layer_weights_of_the_wrong_length_are_refused():
    with pytest.raises(ValueError, match="3 layers need 4 layer_weights, got 2"):
        LightGCN(twelve_nodes(), layer_weights=[0.5, 0.5])


def test_bprmf_is_lightgcn_without_layers():
    graph = twelve_nodes()
    model = BPRMF(graph, embedding_dim=4)
    assert torch.equal(torch.cat(model.encode(graph)), model.embedding)
