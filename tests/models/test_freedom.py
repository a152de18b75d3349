"""FREEDOM against the same maths on dense matrices."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import EdgeDrop, ModalityKNN
from mmgraph.graph.samplers import PairBatch, epoch_generator
from mmgraph.models import FREEDOM, LightGCN, Rows
from tests.models.test_lightgcn import dense_adjacency
from tests.worlds import twelve_nodes

SHARES = {"visual": 0.25, "audio": 0.75}


def similar():
    graph = twelve_nodes()
    for m, share in SHARES.items():
        graph = ModalityKNN(m, 2, "binary", loops=True, share=share)(graph)
    return graph


def dense_similar(graph) -> torch.Tensor:
    """Mixed kNN graphs from the features: 1/sqrt(k_i k_j) at a video and its two nearest of positive cosine."""
    out = torch.zeros(7, 7, dtype=torch.float64)
    for m, share in SHARES.items():
        feature = graph.features(m)
        unit = F.normalize(feature.values.double(), dim=1)
        likeness = unit @ unit.T
        a = torch.zeros(7, 7, dtype=torch.float64)
        for v in feature.present.nonzero().flatten().tolist():
            others = [w for w in feature.present.nonzero().flatten().tolist() if w != v]
            best = sorted(others, key=lambda w: -likeness[v, w])[:2]
            a[v, [v] + [w for w in best if likeness[v, w] > 0]] = 1
        scale = a.sum(1).clamp_min(1).rsqrt()
        out += share * scale[:, None] * a * scale[None]
    return out


@pytest.mark.parametrize("depth", [1, 2])
def test_equals_the_dense_form(depth):
    graph = similar()
    torch.manual_seed(3)
    model = FREEDOM(graph, embedding_dim=8, num_similar_layers=depth).double()
    a = dense_adjacency(graph)
    scale = a.sum(1).clamp_min(1).rsqrt()
    norm = scale[:, None] * a * scale[None]
    e = torch.cat([model.user, model.video])
    expected = (e + norm @ e + norm @ norm @ e) / 3
    near = torch.linalg.matrix_power(dense_similar(graph), depth) @ model.video
    emb = model.encode(graph)
    torch.testing.assert_close(emb.user, expected[:5], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(emb.video, expected[5:] + near, atol=1e-6, rtol=1e-6)


def test_without_features_alike_it_is_lightgcn():
    graph = similar()
    for m in SHARES:
        store = graph["video", f"similar_{m}", "video"]
        store.weight = torch.zeros_like(store.weight)
    model, plain = FREEDOM(graph, embedding_dim=8), LightGCN(graph, embedding_dim=8, num_layers=2)
    plain.embedding.data.copy_(torch.cat([model.user, model.video]).detach())
    torch.testing.assert_close(torch.cat(model.encode(graph)), torch.cat(plain.encode(graph)))


def test_content_is_bpr_of_the_projected_features_over_pairs_that_have_them():
    graph = similar()
    model = FREEDOM(graph, embedding_dim=4, content=0.5)
    batch = PairBatch(torch.tensor([0, 1, 3]), torch.tensor([2, 1, 5]), torch.tensor([[6, 3], [4, 5], [6, 0]]))
    user, expected = model.encode(graph).user, 0.0
    for m in SHARES:
        feature = graph.features(m)
        content = feature.values @ model.project[m].weight.T
        terms = [
            -F.logsigmoid(user[u] @ (content[i] - content[j]))
            for u, i, line in zip(*(t.tolist() for t in batch), strict=True)
            for j in line
            if feature.present[i] and feature.present[j]
        ]
        assert len(terms) < 6  # video 2 has no picture, video 5 no sound
        expected = expected + torch.stack(terms).mean()
    torch.testing.assert_close(model.loss(graph, batch)["content"], 0.5 * expected)
    lonely = PairBatch(torch.tensor([0]), torch.tensor([2]), torch.tensor([[5]]))
    assert model.loss(graph, lonely)["content"] == 0
    assert list(FREEDOM(graph, content=0.0).loss(graph, batch)) == ["bpr"]


def test_only_the_features_of_the_batch_are_projected():
    graph = similar()
    model = FREEDOM(graph, embedding_dim=4)
    graph.features("visual").values[0] = torch.nan
    batch = PairBatch(torch.tensor([1]), torch.tensor([1]), torch.tensor([[4]]))
    sum(model.loss(graph, batch).values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_edges_dropped_for_an_epoch_change_the_user_graph_only():
    graph = similar()
    model = FREEDOM(graph, embedding_dim=8)
    bare = EdgeDrop(0.99, degree_sensitive=True)(graph, epoch_generator(0, 0))  # none of ten edges is left
    emb = model.encode(bare, Rows(torch.arange(5), torch.arange(7)))
    torch.testing.assert_close(emb.user, model.user / 3)
    near = dense_similar(graph).float() @ model.video
    torch.testing.assert_close(emb.video, model.video / 3 + near, atol=1e-6, rtol=1e-5)


def test_a_graph_without_similar_edges_is_refused():
    with pytest.raises(ValueError, match=r"similar_visual.*apply ModalityKNN"):
        FREEDOM(twelve_nodes())


def test_content_of_one_negative_is_that_of_the_same_negative_twice():
    graph = similar()
    model = FREEDOM(graph, embedding_dim=4, content=0.5)
    user, positive, negative = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]), torch.tensor([[3], [0], [4]])
    once = model.loss(graph, PairBatch(user, positive, negative))["content"]
    twice = model.loss(graph, PairBatch(user, positive, negative.repeat(1, 2)))["content"]
    torch.testing.assert_close(once, twice)
    assert float(once.detach()) > 0
