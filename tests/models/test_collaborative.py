"""Graph models of the collaborative family against the same maths on the dense 12-node graph."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import EdgeViews, PairBatch, RandomWalkNeighbours
from mmgraph.losses import info_nce, moment_alignment
from mmgraph.models import (
    NGCF,
    SGL,
    LayerGCN,
    LightGCL,
    LightGCNPP,
    PinSage,
    SimGCL,
    UltraGCN,
    XSimGCL,
)
from mmgraph.models.collaborative.ultragcn import co_watched
from mmgraph.nn.propagation import by_likeness, layers, noisy
from mmgraph.ops import gram_blocks
from tests.worlds import twelve_nodes

BATCH = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([1, 3, 2]), torch.tensor([[4], [5], [6]]))


def made(cls, graph=None, **arguments):
    graph = twelve_nodes() if graph is None else graph
    torch.manual_seed(0)
    return graph, cls(graph, embedding_dim=4, **arguments).eval()


def dense(graph, norm: str = "sym") -> torch.Tensor:
    x = graph.seen.dense()
    a = torch.zeros(12, 12)
    a[:5, 5:], a[5:, :5] = x, x.T
    d = a.sum(1).clamp_min(1)
    if norm == "none":
        return a
    return a / d[:, None] if norm == "row" else a / (d[:, None] * d[None]).sqrt()


def both(emb) -> torch.Tensor:
    return torch.cat([emb.user, emb.video])


@pytest.mark.parametrize("as_coded", [False, True])
def test_ngcf(as_coded):
    graph, model = made(NGCF, num_layers=2, as_coded=as_coded)
    a, x = dense(graph, "row" if as_coded else "sym"), model.embedding
    out = [x]
    for total, product in zip(model.sums, model.products, strict=True):
        near = a @ x
        if as_coded:
            x = F.leaky_relu(total(near + x)) + F.leaky_relu(product(near * x))
        else:
            x = F.leaky_relu(total(near + x) + product(near * x))
        out.append(F.normalize(x, dim=1))
    torch.testing.assert_close(both(model.encode(graph)), torch.cat(out, 1), atol=1e-5, rtol=1e-5)


def test_layergcn():
    graph, model = made(LayerGCN, num_layers=3)
    a, x, out = dense(graph), model.embedding, 0.0
    for _ in range(3):
        near = a @ x
        x = F.cosine_similarity(near, model.embedding, dim=1)[:, None] * near
        out = out + x
    torch.testing.assert_close(both(model.encode(graph)), out, atol=1e-5, rtol=1e-5)


def test_lightgcnpp():
    graph, model = made(LightGCNPP, num_layers=2, alpha=0.6, beta=-0.1, gamma=0.3)
    a = dense(graph, "none")
    d = a.sum(1).clamp_min(1)
    x, states = model.embedding, []
    for _ in range(2):
        x = (d[:, None] ** -0.6 * a * d[None] ** 0.1) @ F.normalize(x, dim=1)
        states.append(x)
    expected = 0.3 * model.embedding + 0.7 * sum(states) / 2
    torch.testing.assert_close(both(model.encode(graph)), expected, atol=1e-5, rtol=1e-5)


def test_simgcl_leaves_out_the_zeroth_layer():
    graph, model = made(SimGCL, num_layers=2)
    a = dense(graph)
    expected = (a @ model.embedding + a @ a @ model.embedding) / 2
    torch.testing.assert_close(both(model.encode(graph)), expected, atol=1e-5, rtol=1e-5)


def test_noise_is_of_the_given_length_and_changes_no_sign():
    torch.manual_seed(0)
    x = torch.randn(50, 6)
    out = noisy(0.1)(x, x)
    torch.testing.assert_close((out - x).norm(dim=1), torch.full((50,), 0.1))
    assert torch.equal(out.sign(), x.sign())
    torch.testing.assert_close(by_likeness(x, -x), -x)


def test_likeness_has_the_gradients_of_the_cosine():
    message, ego, weight = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    message[0] = 0  # a node without an edge
    ours, plain = ([x.clone().requires_grad_() for x in (message, ego)] for _ in range(2))
    expected = F.cosine_similarity(*plain, dim=1, eps=1e-12).unsqueeze(1) * plain[0]
    torch.testing.assert_close(by_likeness(*ours), expected)
    mine = torch.autograd.grad((weight * by_likeness(*ours)).sum(), ours)
    torch.testing.assert_close(mine, torch.autograd.grad((weight * expected).sum(), plain))


def test_xsimgcl_contrasts_the_result_with_an_early_layer():
    graph, model = made(XSimGCL, num_layers=2, layer=1, contrast=0.7, temperature=0.3, l2=0.0)
    a = dense(graph)
    first = a @ model.embedding
    out = (first + a @ first) / 2
    users, videos = torch.tensor([0, 1]), torch.tensor([1, 2, 3]) + 5
    expected = info_nce(out[users], first[users], 0.3) + info_nce(out[videos], first[videos], 0.3)
    torch.testing.assert_close(model.loss(graph, BATCH)["contrast"], 0.7 * expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="layer must lie in"):
        made(XSimGCL, num_layers=2, layer=3)


def test_sgl_contrasts_the_views_of_the_epoch():
    graph, model = made(SGL, num_layers=2, contrast=0.5, temperature=0.3)
    with pytest.raises(ValueError, match="EdgeViews"):
        model.loss(graph, BATCH)
    viewed = EdgeViews(0.4)(graph, torch.Generator().manual_seed(3))
    states = []
    for name in ("view_0", "view_1"):
        edges = viewed["user", name, "video"].edge_index
        assert edges.shape[1] == 6
        a = torch.zeros(12, 12)
        a[edges[0], edges[1] + 5] = a[edges[1] + 5, edges[0]] = 1
        d = a.sum(1).clamp_min(1)
        a = a / (d[:, None] * d[None]).sqrt()
        x = model.embedding
        states.append((x + a @ x + a @ a @ x) / 3)
    users, videos = torch.tensor([0, 1]), torch.tensor([1, 2, 3]) + 5
    expected = sum(info_nce(states[0][rows], states[1][rows], 0.3) for rows in (users, videos))
    torch.testing.assert_close(model.loss(viewed, BATCH)["contrast"], 0.5 * expected, atol=1e-5, rtol=1e-5)
    first, second = (viewed["user", f"view_{i}", "video"].edge_index for i in (0, 1))
    assert not torch.equal(first, second)


def test_lightgcl_contrasts_with_the_leading_singular_vectors():
    graph, model = made(LightGCL, num_layers=2, rank=2, contrast=1.0, temperature=0.5)
    a, x = dense(graph), model.embedding
    u, s, v = torch.linalg.svd(a[:5, 5:])
    low = torch.zeros(12, 12)
    low[:5, 5:] = u[:, :2] @ torch.diag(s[:2]) @ v[:2]
    low = low + low.T
    total, view = x + a @ x + a @ a @ x, x + low @ x + low @ a @ x
    expected = 0.0
    for rows, part in ((torch.tensor([0, 1]), slice(0, 5)), (torch.tensor([1, 2, 3]), slice(5, 12))):
        logits = F.normalize(view[part][rows], dim=1) @ F.normalize(total[part], dim=1).T / 0.5
        expected = expected + F.cross_entropy(logits, rows)
    torch.testing.assert_close(model.loss(graph, BATCH)["contrast"], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both(model.encode(graph)), total, atol=1e-5, rtol=1e-5)


def test_ultragcn_weighs_pairs_as_its_paper_says():
    graph, model = made(
        UltraGCN, negatives=1, negative_weight=2.0, weights=(0.1, 0.7, 0.2, 0.5), videos=0.3, neighbours=2
    )
    with torch.no_grad():
        model.user.normal_()
        model.video.normal_()
    terms, scores = model.loss(graph, BATCH), (model.user @ model.video.T)
    du, dv = graph.seen.dense().sum(1), graph.seen.dense().sum(0)

    def beta(u, v):
        return (1 / du[u]) * ((du[u] + 1) / (dv[v] + 1)).sqrt()

    triples = [(0, 1, 4), (1, 3, 5), (0, 2, 6)]
    positive = sum(-(0.1 + 0.7 * beta(u, v)) * F.logsigmoid(scores[u, v]) for u, v, _ in triples)
    negative = sum(-(0.2 + 0.5 * beta(u, j)) * F.logsigmoid(-scores[u, j]) for u, _, j in triples)
    torch.testing.assert_close(terms["positive"], positive)
    torch.testing.assert_close(terms["negative"], 2 * negative)
    like = 0.0
    for u, v, _ in triples:
        for j, w in zip(model.neighbour[v].tolist(), model.likeness[v].tolist(), strict=True):
            like = like - w * F.logsigmoid(scores[u, j])
    torch.testing.assert_close(terms["videos"], 0.3 * like)


@pytest.mark.parametrize("itself", [False, True])
def test_co_watched_videos(itself, monkeypatch):
    monkeypatch.setattr("mmgraph.models.collaborative.ultragcn.gram_blocks", lambda x, rows: gram_blocks(x, rows=3))
    graph = twelve_nodes()
    x = graph.seen.dense()
    gram = x.T @ x
    g = gram.sum(1)
    expected = gram / (g - gram.diagonal()).clamp_min(1e-12)[:, None] * (g[:, None] / g.clamp_min(1e-12)[None]).sqrt()
    if not itself:
        expected.fill_diagonal_(0)
    _, likeness = co_watched(graph, 3, itself)
    best = expected[:6].topk(3).values  # nobody watched video 6
    torch.testing.assert_close(likeness[:6], best, atol=1e-6, rtol=1e-6)


def test_pinsage_reads_what_the_walks_visit_and_users_are_means():
    graph = RandomWalkNeighbours(k=3, walks=100)(twelve_nodes())
    graph, model = made(PinSage, graph, num_layers=1)
    x = model.video
    for m in graph.modalities:
        f = graph.features(m)
        x = x + model.project[m](f.values) * f.present[:, None]
    walked = graph["video", "walked", "video"]
    weight = torch.zeros(7, 7)
    weight[walked.edge_index[1], walked.edge_index[0]] = walked.weight
    sums = weight.sum(1)
    assert ((sums - 1).abs() < 1e-6).logical_or(sums == 0).all()
    assert weight.diagonal().abs().sum() == 0
    z = F.normalize(F.leaky_relu(model.update[0](torch.cat([weight @ F.relu(model.message[0](x)), x], 1))), dim=1)
    emb = model.encode(graph)
    torch.testing.assert_close(emb.video, z, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(emb.user[1], (z[1] + z[3]) / 2, atol=1e-5, rtol=1e-5)
    own = (z[0] + z[2]) / 2  # user 0 watched 0, 1, 2; video 1 is predicted
    own_1, own_2 = z[1], (z[0] + z[1]) / 2
    margins = [1 + u @ z[j] - u @ z[v] for u, v, j in ((own, 1, 4), (own_1, 3, 5), (own_2, 2, 6))]
    expected = torch.stack(margins).clamp_min(0).mean()
    torch.testing.assert_close(model.loss(graph, BATCH)["margin"], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="RandomWalkNeighbours"):
        PinSage(twelve_nodes())


def test_layers_give_the_rows_of_every_layer():
    graph = twelve_nodes()
    a, x = graph.adjacency("interacts"), torch.randn(12, 3)
    rows = torch.tensor([11, 0, 4])
    for whole, part in zip(layers(a, x, 2), layers(a, x, 2, rows=rows), strict=True):
        torch.testing.assert_close(part, whole[rows])


def test_info_nce_among_all_nodes_and_within_a_view():
    torch.manual_seed(0)
    anchor, table = torch.randn(3, 4), torch.randn(6, 4)
    rows = torch.tensor([5, 0, 2])
    logits = F.normalize(anchor, dim=1) @ F.normalize(table, dim=1).T / 0.3
    torch.testing.assert_close(info_nce(anchor, table[rows], 0.3, among=(table, rows)), F.cross_entropy(logits, rows))
    positive = torch.randn(3, 4)
    a, p = F.normalize(anchor, dim=1), F.normalize(positive, dim=1)
    every = torch.cat([a @ p.T, (a @ a.T).masked_fill(torch.eye(3, dtype=torch.bool), -torch.inf)], 1) / 0.3
    torch.testing.assert_close(info_nce(anchor, positive, 0.3, intra=True), F.cross_entropy(every, torch.arange(3)))
    assert info_nce(anchor[:0], positive[:0]).item() == 0


def test_moments():
    a = torch.tensor([[0.0, 2.0], [4.0, 6.0]])
    assert moment_alignment(a, a.flip(0)).item() == 0
    torch.testing.assert_close(moment_alignment(a, a * 2 + 1), torch.tensor(4.0 + 3 * a.var().item()))
