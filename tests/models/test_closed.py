"""The closed-form baselines against their formulas on dense matrices."""

from __future__ import annotations

import pytest
import torch

from mmgraph.models import EASE, ItemKNN, Popularity
from mmgraph.models.base import Rows
from mmgraph.models.closed.ease import feature_rows, invert_
from mmgraph.models.closed.linear import LinearItemModel, interaction_matrix
from tests.worlds import twelve_nodes


def test_popularity_counts():
    graph = twelve_nodes()
    model = Popularity(graph)
    model.solve(graph)
    scores = model.score(model.encode(graph), torch.tensor([0, 4]))
    assert scores.tolist() == [[2, 2, 2, 1, 2, 1, 0]] * 2


def test_repeated_pairs_count_once():
    graph = twelve_nodes()
    more = graph.with_interactions(torch.tensor([0, 0]), torch.tensor([0, 0]))
    assert torch.equal(interaction_matrix(more).dense(), interaction_matrix(graph).dense())


@pytest.mark.parametrize(("k", "shrink", "alpha"), [(7, 0.0, 0.5), (2, 0.0, 0.5), (7, 3.0, 0.2)])
def test_itemknn_is_the_shrunk_cosine_of_columns(k, shrink, alpha):
    graph = twelve_nodes()
    model = ItemKNN(graph, k=k, shrink=shrink, alpha=alpha)
    model.solve(graph)
    x = graph.seen.dense().double()
    expected = torch.zeros(7, 7, dtype=torch.float64)
    for v in range(7):
        similar = torch.zeros(7, dtype=torch.float64)
        for j in range(7):
            both = (x[:, v] * x[:, j]).sum()
            if v != j and both > 0:
                similar[j] = both / (x[:, v].sum() ** alpha * x[:, j].sum() ** (1 - alpha) + shrink)
        kept = similar.topk(min(k, 7))
        expected[kept.indices, v] = kept.values  # W[j, v]: what watching j says of v
    got = model.videos().dense().T.double()
    torch.testing.assert_close(got.sort(0).values, expected.sort(0).values, atol=1e-6, rtol=1e-6)
    if k == 7:
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
        scores = model.score(model.encode(graph), torch.arange(5))
        torch.testing.assert_close(scores.double(), x @ expected, atol=1e-6, rtol=1e-6)


def test_ease_minimises_its_own_objective_under_a_zero_diagonal():
    """The gradient of ½‖X − XB‖² + ½λ‖B‖² vanishes off the diagonal: that is what optimal means."""
    graph = twelve_nodes()
    model = EASE(graph, reg=0.7)
    model.solve(graph)
    x, b = graph.seen.dense(), model.weight
    gradient = x.T @ (x @ b - x) + 0.7 * b
    assert b.diagonal().abs().max() == 0
    off = gradient - torch.diag(gradient.diagonal())
    assert off.abs().max() < 1e-5


def test_scores_are_rows_times_the_matrix_however_they_are_asked_for():
    graph = twelve_nodes()
    model = EASE(graph)
    model.weight.normal_(generator=torch.Generator().manual_seed(0))
    users, videos = torch.tensor([3, 0, 3]), torch.tensor([[6, 0], [1, 1], [2, 5]])
    truth = graph.seen.dense()[users] @ model.weight
    whole, part = model.encode(graph), model.encode(graph, Rows(users, torch.arange(7)))
    torch.testing.assert_close(model.score(whole, users), truth)
    torch.testing.assert_close(model.score(whole, users, videos), truth.gather(1, videos))
    torch.testing.assert_close(model.score(part, torch.arange(3)), truth)


def test_ease_with_features_is_ease_on_stacked_rows():
    graph = twelve_nodes()
    model = EASE(graph, reg=0.7, features=["visual", "audio"], feature_weight=2.0)
    model.solve(graph)
    f = feature_rows({m: graph.features(m) for m in ("visual", "audio")})
    norms = f.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(7))
    stacked = torch.cat([graph.seen.dense(), 2.0 * f.T])
    p = torch.linalg.inv(stacked.T @ stacked + 0.7 * torch.eye(7))
    expected = -p / p.diagonal()
    expected.fill_diagonal_(0)
    torch.testing.assert_close(model.weight, expected, atol=1e-5, rtol=1e-4)
    assert isinstance(model, LinearItemModel)


@pytest.mark.parametrize("size", [1, 7, 1024, 1500])
def test_the_inverse_is_made_in_the_memory_of_the_matrix(size):
    x = torch.randn(2 * size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = x.T @ x / size + torch.eye(size)
    expected, single = torch.linalg.inv(matrix), matrix.float()
    where = single.data_ptr()
    assert invert_(single).data_ptr() == where
    torch.testing.assert_close(single.double(), expected, atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="positive definite"):
        invert_(-torch.eye(3))


def test_an_unfitted_closed_form_says_so():
    graph = twelve_nodes()
    for cls in (Popularity, ItemKNN, EASE):
        model = cls(graph)
        assert not model.fitted
        model.solve(graph)
        assert model.fitted


def test_ease_on_tiktok_gives_the_known_numbers(data_root):
    """Measured before mmgraph existed: test recall@20 .0887, with features .0946 (valid .0970)."""
    from mmgraph.data import published_split
    from mmgraph.data.readers import read_mmrec
    from mmgraph.evaluate import evaluate
    from mmgraph.graph import build_graph

    split = published_split(read_mmrec(data_root / "tiktok"), column="x_label")
    graph = build_graph(split)
    model = EASE(graph, reg=30.0, features=["visual", "audio"], feature_weight=4.0)
    model.solve(graph)
    assert evaluate(model, graph, split.valid).metrics["all"]["recall@20"] == pytest.approx(0.0970, abs=1e-4)
