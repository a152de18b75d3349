"""Spectral filters, iALS, SLIM and the linear models of content against the same maths on dense matrices."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from mmgraph.models import BSPM, EASE, GFCF, IALS, SLIM, AddEASE, ChebyCF, ContentKNN, People, TurboCF
from mmgraph.models.closed.chebycf import plateau_coefficients
from mmgraph.models.closed.ease import feature_rows
from mmgraph.ops import CSR, gram_blocks
from tests.worlds import twelve_nodes


def solved(cls, **arguments):
    graph = twelve_nodes()
    model = cls(graph, **arguments)
    model.solve(graph)
    return graph, model


def scores(model, graph):
    return model.score(model.encode(graph), torch.arange(5)).double()


def dense(a: float = 0.5, b: float = 0.5):
    x = twelve_nodes().seen.dense().double()
    r = x.sum(1, keepdim=True).clamp_min(1) ** -a * x * x.sum(0, keepdim=True).clamp_min(1) ** -b
    return x, r.T @ r


def ideal(p: torch.Tensor, rank: int) -> torch.Tensor:
    vectors = torch.linalg.eigh(p).eigenvectors[:, -rank:]
    return vectors @ vectors.T


def degrees(x: torch.Tensor, power: float) -> torch.Tensor:
    return torch.diag(x.sum(0).clamp_min(1) ** power)


def test_gfcf():
    graph, model = solved(GFCF, rank=3, ideal=0.3)
    x, p = dense()
    expected = x @ (p + 0.3 * degrees(x, -0.5) @ ideal(p, 3) @ degrees(x, 0.5))
    torch.testing.assert_close(scores(model, graph), expected, atol=1e-5, rtol=1e-5)


def test_bspm():
    graph, model = solved(BSPM, rank=3, ideal=0.2, sharpen=2.5)
    x, p = dense()
    blurred = x @ p + 0.2 * x @ degrees(x, -0.5) @ ideal(p, 3) @ degrees(x, 0.5)
    steps = [torch.linalg.matrix_power(-2.5 * p, k) / math.factorial(k) for k in range(5)]
    torch.testing.assert_close(scores(model, graph), blurred @ sum(steps), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("as_coded", [False, True])
def test_chebycf(as_coded):
    graph, model = solved(ChebyCF, order=8, rank=3, ideal=0.2, degree_power=0.4, as_coded=as_coded)
    x, p = dense()
    values, vectors = torch.linalg.eigh(torch.eye(7, dtype=torch.float64) - 2 * p)
    response = sum(c * torch.cos(k * torch.arccos(values.clamp(-1, 1))) for k, c in enumerate(model.coefficients))
    h = vectors @ torch.diag(response) @ vectors.T
    expected = x @ degrees(x, -0.4) @ (h + 0.2 * ideal(p, 3)) @ degrees(x, 0.4)
    torch.testing.assert_close(scores(model, graph), expected, atol=1e-5, rtol=1e-5)


def test_the_plateau_is_met_at_the_roots():
    coefficients = plateau_coefficients(8, 1.5)
    for j in range(9):
        root = math.cos((j + 0.5) / 9 * math.pi)
        value = sum(c * math.cos(k * math.acos(root)) for k, c in enumerate(coefficients))
        assert value == pytest.approx(0.5 - math.copysign(abs(root) ** 1.5 / 2, root), abs=1e-12)
    assert plateau_coefficients(8, 1.5, as_coded=True) != coefficients


@pytest.mark.parametrize("power", [0.7, 1.0, 1.4])
@pytest.mark.parametrize(("order", "h"), [(1, [1]), (2, [2, -1]), (3, [0.71, 0.1, -0.01])])
def test_turbocf_formed_in_blocks_or_not_at_all(order, h, power, monkeypatch):
    # as if a block held two rows at most, so that several are put together
    monkeypatch.setattr("mmgraph.models.closed.turbocf.gram_blocks", partial(gram_blocks, rows=2))
    graph, model = solved(TurboCF, alpha=0.6, power=power, order=order)
    x, p = dense(0.6, 0.4)
    assert len(model.weight) == (0 if power == 1 else int((p > 0).sum()))
    p = torch.where(p > 0, p**power, 0.0)
    expected = x @ sum(c * torch.linalg.matrix_power(p, k + 1) for k, c in enumerate(h))
    torch.testing.assert_close(scores(model, graph), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cls", [GFCF, BSPM, ChebyCF, TurboCF])
def test_new_people_are_filtered_exactly_like_known_ones(cls):
    graph, model = solved(cls)
    emb = model.fold_in(graph, People(graph.seen.select(torch.tensor([3, 0]))[0]))
    torch.testing.assert_close(
        model.score(emb, torch.arange(2)), model.score(model.encode(graph), torch.tensor([3, 0]))
    )


def test_ials_solves_each_row_by_its_normal_equations():
    graph, model = solved(IALS, embedding_dim=3, unobserved=0.1, reg=0.05, frequency=0.5, sweeps=1500, steps=4)
    x, y, seen = model.user.double(), model.video.double(), twelve_nodes().seen.dense().double()
    for u in range(5):
        watched = y[seen[u] > 0]
        ridge = 0.05 * (seen[u].sum() + 0.1 * 7) ** 0.5
        system = watched.T @ watched + 0.1 * y.T @ y + ridge * torch.eye(3, dtype=torch.float64)
        torch.testing.assert_close(x[u], torch.linalg.solve(system, watched.sum(0)), atol=2e-4, rtol=1e-3)
    assert graph.num_users == 5


def test_slim_equals_scikit_learns_elastic_net(monkeypatch):
    from sklearn.linear_model import ElasticNet

    monkeypatch.setattr("mmgraph.models.closed.slim.ROWS", 2)  # blocks of some rows and columns
    monkeypatch.setattr("mmgraph.models.closed.slim.COLUMNS", 3)
    _, model = solved(SLIM, alpha=0.05, l1_ratio=0.3, sweeps=500, tolerance=1e-8)
    x = twelve_nodes().seen.dense().double().numpy()
    for v in range(7):
        rest = x.copy()
        rest[:, v] = 0
        net = ElasticNet(alpha=0.05, l1_ratio=0.3, positive=True, fit_intercept=False, tol=1e-10, max_iter=10_000)
        net.fit(rest, x[:, v])
        torch.testing.assert_close(model.weight[:, v].double(), torch.from_numpy(net.coef_), atol=1e-5, rtol=1e-4)
    with pytest.warns(UserWarning, match="still moved by"):
        solved(SLIM, alpha=0.05, l1_ratio=0.3, sweeps=1, tolerance=1e-8)


def test_add_ease_is_a_mixture_of_two():
    graph, model = solved(AddEASE, reg=0.7, feature_reg=0.5, alpha=0.25)
    clicks = EASE(graph, reg=0.7)
    clicks.solve(graph)
    f = feature_rows({m: graph.features(m) for m in graph.modalities})
    p = torch.linalg.inv(f @ f.T + 0.5 * torch.eye(7))
    content = -p / p.diagonal()
    content.fill_diagonal_(0)
    torch.testing.assert_close(model.weight, 0.75 * clicks.weight + 0.25 * content, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="alpha must lie in"):
        AddEASE(graph, alpha=1.5)


def test_content_knn_sums_the_cosines_of_the_nearest():
    graph, model = solved(ContentKNN, k=3, weights={"audio": 2.0})
    parts = []
    for m, weight in (("visual", 1.0), ("audio", 2.0)):
        f = feature_rows({m: graph.features(m)})
        parts.append(torch.nn.functional.normalize(f, dim=1) * weight)
    x = torch.cat(parts, 1)
    cosine = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=-1).fill_diagonal_(-2)
    best = cosine.topk(3)
    near = torch.zeros(7, 7).scatter_(1, best.indices, best.values.clamp_min(0))
    torch.testing.assert_close(scores(model, graph).float(), graph.seen.dense() @ near.T, atol=1e-5, rtol=1e-4)


def test_eigenvectors_do_not_depend_on_how_the_interactions_are_stored():
    graph = twelve_nodes()
    user, video = graph.interactions()
    order = torch.randperm(len(user), generator=torch.Generator().manual_seed(0))
    other = twelve_nodes()
    other["user", "interacts", "video"].edge_index = torch.stack([user[order], video[order]])
    a, b = (GFCF(g, rank=3) for g in (graph, other))
    a.solve(graph)
    b.solve(other)
    assert torch.equal(a.gram.basis, b.gram.basis)
    with pytest.raises(ValueError, match="made for 10 interactions"):
        a.solve(graph.with_interactions(torch.tensor([4]), torch.tensor([6])))
    assert isinstance(a.encode(graph).user, CSR)
