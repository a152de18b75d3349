"""Multimodal models against the same maths on the dense 12-node graph, with a modality missing here and there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import JoinKNN, PairBatch, UserCoInteraction
from mmgraph.losses import info_nce
from mmgraph.models import (
    BM3,
    COHESION,
    DRAGON,
    GRCN,
    GUME,
    LATTICE,
    MENTOR,
    MGCN,
    MICRO,
    MVGAE,
    PGL,
    SMORE,
    DualGNN,
    LGMRec,
    SLMRec,
)
from mmgraph.nn.fusion import SoftmaxFusion, present_softmax
from mmgraph.nn.item_graph import like_edges, row_normalised
from mmgraph.testing import alike, twelve_nodes
from tests.worlds import near

BATCH = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([1, 3, 2]), torch.tensor([[4], [5], [6]]))
MODALITIES = ("visual", "audio")


def made(cls, **arguments):
    graph = alike(twelve_nodes())
    torch.manual_seed(0)
    return graph, cls(graph, embedding_dim=4, **arguments).eval()


def sym(a):
    d = a.sum(1).clamp_min(1)
    return a / (d[:, None] * d[None]).sqrt()


def clicks(graph):
    x = graph.seen.dense()
    a = torch.zeros(12, 12)
    a[:5, 5:], a[5:, :5] = x, x.T
    return a


def lightgcn(graph, user, video, layers=2):
    a, x = sym(clicks(graph)), torch.cat([user, video])
    states = [x]
    for _ in range(layers):
        states.append(a @ states[-1])
    return torch.stack(states).mean(0)


def square(graph, source, relation, size):
    store = graph[source, relation, source]
    out = torch.zeros(size, size)
    out[store.edge_index[1], store.edge_index[0]] = store.weight
    return out


def alike_of(graph, name):
    return square(graph, "video", f"similar_{name}", 7)


def feature(graph, m):
    f = graph.features(m)
    return f.values, f.present[:, None]


def both(emb):
    return torch.cat([emb.user, emb.video])


def test_softmax_over_what_is_present():
    scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    present = torch.tensor([[True, False, True], [True, True, True], [False, False, False]])
    weights = present_softmax(scores, present)
    near(weights[0], torch.tensor([1.0, 0.0, torch.e**2]) / (1 + torch.e**2))
    near(weights[1], torch.full((3,), 1 / 3))
    assert weights[2].tolist() == [0, 0, 0]


def mgcn_views(graph, content):
    r = sym(clicks(graph))[:5, 5:]
    x = graph.seen.dense()
    views, present = {}, {}
    some = torch.stack([graph.features(m).present for m in MODALITIES]).any(0)
    for m, rows in content.items():
        video = alike_of(graph, m) @ rows
        views[m] = torch.cat([r @ video, video])
        here = graph.features(m).present if m in MODALITIES else some
        present[m] = torch.cat([x @ here.float() > 0, here])
    return views, present


def test_mgcn():
    graph, model = made(MGCN, contrast=0.5, temperature=0.3)
    content = {}
    for m in MODALITIES:
        values, here = feature(graph, m)
        p = model.purify[m]
        content[m] = model.video * torch.sigmoid(p.gate(p.project(values))) * here
    views, present = mgcn_views(graph, content)
    common = SoftmaxFusion.forward(model.fuse, views, present)
    ids = lightgcn(graph, model.user, model.video)
    parts = [torch.sigmoid(model.prefer[m](ids)) * (views[m] - common) * present[m][:, None] for m in MODALITIES]
    side = (sum(parts) + common) / 3
    near(both(model.encode(graph)), ids + side)
    users, videos = torch.tensor([0, 1]), torch.tensor([6, 7, 8])
    expected = info_nce(side[users], ids[users], 0.3) + info_nce(side[videos], ids[videos], 0.3)
    near(model.loss(graph, BATCH)["contrast"], 0.5 * expected)


@pytest.mark.parametrize("as_coded", [False, True])
def test_smore(as_coded):
    graph, model = made(SMORE, num_layers=2, as_coded=as_coded)
    content, product = {}, torch.ones(7, 3, dtype=torch.complex64)
    for m in MODALITIES:
        values, here = feature(graph, m)
        spectrum = torch.fft.rfft(model.purify[m].project(values), dim=1, norm="ortho")
        w = torch.view_as_complex(model.filter[m])
        clean = torch.fft.irfft(spectrum * w, n=4, dim=1, norm="ortho")
        content[m] = model.video * torch.sigmoid(model.purify[m].gate(clean)) * here
        product = torch.where(here, product * spectrum, product)
    fused = torch.fft.irfft(product * torch.view_as_complex(model.filter["fused"]), n=4, dim=1, norm="ortho")
    content["fused"] = model.video * torch.sigmoid(model.purify["fused"].gate(fused))
    views, present = mgcn_views(graph, content)
    ids = lightgcn(graph, model.user, model.video)
    scores = [model.attend[m](views["fused"]) for m in MODALITIES]
    if as_coded:
        weights = [s.softmax(1) for s in scores]
    else:
        joint = present_softmax(torch.cat(scores, 1), torch.stack([present[m] for m in MODALITIES], 1))
        weights = [joint[:, :1], joint[:, 1:]]
    parts = [w * torch.sigmoid(model.prefer[m](ids)) * views[m] for w, m in zip(weights, MODALITIES, strict=True)]
    side = torch.stack([*parts, torch.sigmoid(model.prefer["fused"](ids)) * views["fused"]]).mean(0)
    near(both(model.encode(graph)), ids + side)


def test_joined_graphs():
    graph = alike(twelve_nodes())
    visual, audio = alike_of(graph, "visual"), alike_of(graph, "audio")
    near(alike_of(JoinKNN("max", "most")(graph), "most"), torch.maximum(visual, audio))
    agree = ((visual > 0) & (audio > 0)).float().fill_diagonal_(0)
    near(alike_of(JoinKNN("agree", "both")(graph), "both"), torch.maximum(agree, agree.T))
    with pytest.raises(ValueError, match="ModalityKNN"):
        JoinKNN()(twelve_nodes())


def test_gume_propagates_over_clicks_and_agreeing_videos():
    graph, model = made(GUME, num_layers=2)
    a = clicks(graph)
    a[5:, 5:] = (alike_of(graph, "agree") > 0).float()
    a, x = sym(a), torch.cat([model.user, model.video])
    ids, side = model.views(graph)
    near(ids, (x + a @ x + a @ a @ x) / 3)
    near(both(model.encode(graph)), ids + side)
    assert {"bpr", "contrast", "user", "moments", "extended", "l2"} == set(model.loss(graph, BATCH))


def learned(graph, model, m):
    values, here = feature(graph, m)
    unit = F.normalize(model.project[m](values), dim=1)
    cosine = (unit @ unit.T).masked_fill(~(here & here.T), -2)
    best = cosine.topk(model.k, 1)
    return torch.zeros(7, 7).scatter_(1, best.indices, best.values.clamp_min(0))


def normal(s):
    d = s.sum(1)
    scale = torch.where(d > 0, d.clamp_min(1e-12).rsqrt(), 0.0)
    return scale[:, None] * s * scale[None]


def test_lattice_mixes_the_features_graph_with_a_learned_one():
    graph, model = made(LATTICE, k=3, raw=0.7, feature_dim=5)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([0.3, -0.2]))
    present = torch.stack([graph.features(m).present for m in MODALITIES], 1)
    w = present_softmax(model.weight.expand(7, -1), present)
    raw = sum(w[:, i : i + 1] * alike_of(graph, m) for i, m in enumerate(MODALITIES))
    joint = normal(sum(w[:, i : i + 1] * learned(graph, model, m) for i, m in enumerate(MODALITIES)))
    h = (0.7 * raw + 0.3 * joint) @ model.video
    expected = lightgcn(graph, model.user, model.video)
    expected[5:] = expected[5:] + F.normalize(h, dim=1)
    near(both(model.encode(graph)), expected)
    model.loss(graph, BATCH)["bpr"].backward()
    assert model.weight.grad.abs().sum() > 0
    assert all(model.project[m].weight.grad.abs().sum() > 0 for m in MODALITIES)


def test_micro_fuses_graph_by_graph():
    graph, model = made(MICRO, k=3, raw=0.7, feature_dim=5, contrast=1.0, temperature=0.4)
    views = {m: (0.7 * alike_of(graph, m) + 0.3 * normal(learned(graph, model, m))) @ model.video for m in MODALITIES}
    h = model.fuse(views, {m: graph.features(m).present for m in MODALITIES})
    expected = lightgcn(graph, model.user, model.video)
    expected[5:] = expected[5:] + F.normalize(h, dim=1)
    near(both(model.encode(graph)), expected)
    chosen, terms = torch.tensor([1, 2, 3]), []
    for m in MODALITIES:
        rows = chosen[graph.features(m).present[chosen]]
        terms.append(info_nce(views[m][rows], h[rows], 0.4, intra=True))
    near(model.loss(graph, BATCH)["contrast"], sum(terms))


def test_edges_by_likeness_are_differentiable_and_skip_what_is_absent():
    x = torch.randn(5, 3, requires_grad=True)
    present = torch.tensor([True, True, False, True, True])
    target, source, cosine = like_edges(x, present, 2)
    assert 2 not in target.tolist() + source.tolist()
    row_normalised(target, source, cosine, 5).dense().sum().backward()
    assert x.grad[present].abs().sum() > 0


def test_bm3():
    graph, model = made(BM3, num_layers=1, content=2.0, norm=0.3)
    out = lightgcn(graph, model.user, model.video, layers=1)
    user, video = out[:5], out[5:] + model.video
    emb = model.encode(graph)
    near(both(emb), model.predict(torch.cat([user, video])))
    u, v, p = user[BATCH.user], video[BATCH.positive], model.predict

    def apart(a, b):
        return 1 - F.cosine_similarity(a, b, dim=1).mean()

    terms = model.loss(graph, BATCH._replace(negative=torch.zeros(3, 0, dtype=torch.int64)))
    near(terms["pair"], apart(p(u), v) + apart(p(v), u))
    content = 0.0
    for m in MODALITIES:
        values, here = feature(graph, m)
        keep = here[BATCH.positive, 0]
        c = model.project[m](values[BATCH.positive[keep]])
        content = content + apart(p(c), v[keep]) + apart(p(c), c)
    near(terms["content"], 2 * content)
    rows = user[[0, 1]].norm() + video[[1, 2, 3]].norm()
    near(terms["norm"], 0.3 * rows / 7)
    (batch,) = model.sampler(graph, 100).epoch(0, 0)
    assert batch.negative.shape == (10, 0)


def test_pgl_has_no_id():
    graph, model = made(PGL)
    blocks = []
    for m in MODALITIES:
        values, here = feature(graph, m)
        blocks.append(F.normalize(model.project[m](values), dim=1) * here)
    video = torch.cat(blocks, 1)
    expected = lightgcn(graph, model.user, video)
    expected[5:] = expected[5:] + (alike_of(graph, "visual") + alike_of(graph, "audio")) @ video
    near(both(model.encode(graph)), expected)
    assert model.identity is None


def test_slmrec_joins_its_views():
    graph, model = made(SLMRec, num_layers=2, contrast=0.5, temperature=0.3)
    tables = [model.video]
    for m in MODALITIES:
        values, here = feature(graph, m)
        tables.append(model.project[m](values) * here)
    views = [lightgcn(graph, model.user, t) for t in tables]
    joined = torch.cat(views, 1)
    near(both(model.encode(graph)), torch.cat([model.join_user(joined[:5]), model.join_video(joined[5:])]))
    # videos 1, 2, 3: the second lacks the visual modality
    both_id, both_m = torch.tensor([1, 3]) + 5, torch.tensor([1, 3]) + 5
    g = model.guide
    expected = info_nce(g["id"](views[0][both_id]), g["visual"](views[1][both_id]), 0.3)
    expected = expected + info_nce(g["visual"](views[1][both_m]), g["audio"](views[2][both_m]), 0.3)
    near(model.loss(graph, BATCH)["contrast"], 0.5 * expected)


def test_lgmrec():
    graph, model = made(LGMRec, hyperedges=3, hyper=0.4, temperature=0.5)
    a, x = sym(clicks(graph)), graph.seen.dense()
    ids = lightgcn(graph, model.user, model.video)
    content, globe = 0.0, 0.0
    for m in MODALITIES:
        values, here = feature(graph, m)
        video = model.project[m](values) * here
        user = (x / x.sum(1, keepdim=True).clamp_min(1)) @ video
        content = content + F.normalize(a @ a @ torch.cat([user, video]), dim=1)
        traits = model.trait[m](values) * here
        h_v, h_u = (traits / 0.5).softmax(1) * here, (a[:5, 5:] @ traits / 0.5).softmax(1)
        shared = h_v.T @ ids[5:]
        globe = globe + torch.cat([h_u @ shared, h_v @ shared])
    near(both(model.encode(graph)), ids + content + 0.4 * F.normalize(globe, dim=1))
    again = model.encode(graph)
    assert torch.equal(again.user, model.encode(graph).user)
    _, random = made(LGMRec, as_coded=True)
    assert not torch.equal(random.encode(graph).user, random.encode(graph).user)


def dual_views(graph, model):
    a, users, videos = sym(clicks(graph)), [], []
    for m in MODALITIES:
        values, here = feature(graph, m)
        x = F.normalize(torch.cat([model.preference[m], model.project[m](values) * here]), dim=1)
        out = x + a @ x + a @ a @ x
        users.append(out[:5])
        videos.append(out[5:])
    return users, videos


def test_like_minded_users_are_weighed_by_what_they_share():
    graph = UserCoInteraction(2)(twelve_nodes())
    x = graph.seen.dense()
    common = (x @ x.T).fill_diagonal_(0)
    a = square(graph, "user", "co_watched", 5)
    for u in range(5):
        best = common[u].topk(2).values
        weights = best[best > 0].softmax(0).sort().values
        near(a[u][a[u] > 0].sort().values, weights)
    flat = square(UserCoInteraction(2, softmax=False)(twelve_nodes()), "user", "co_watched", 5)
    assert set(flat[flat > 0].tolist()) <= {0.5, 1.0}


@pytest.mark.parametrize("as_coded", [False, True])
def test_dualgnn_and_its_alias(as_coded):
    graph, model = made(DualGNN, as_coded=as_coded)
    users, videos = dual_views(graph, model)
    if as_coded:
        w, first = model.weight, users[0] + users[1]
    else:
        w, first = model.weight.softmax(1), users[0]  # each user's videos have both; user 4 has none
    user = w[:, :1] * first + w[:, 1:] * users[1]
    user = user + square(graph, "user", "co_watched", 5) @ user
    near(both(model.encode(graph)), torch.cat([user, sum(videos)]))


def test_dragon():
    graph, model = made(DRAGON)
    users, videos = dual_views(graph, model)
    w = model.weight.softmax(1)
    user = torch.cat([w[:, :1] * users[0], w[:, 1:] * users[1]], 1)
    video = torch.cat(videos, 1)
    s = alike_of(graph, "visual") + alike_of(graph, "audio")
    near(
        both(model.encode(graph)), torch.cat([user + square(graph, "user", "co_watched", 5) @ user, video + s @ video])
    )


def test_mentor_trains_its_mask_as_published_and_not_as_coded():
    graph, model = made(MENTOR)
    terms = model.loss(graph, BATCH)
    assert {"align", "noise", "mask"} <= set(terms)
    terms["mask"].backward()
    assert model.predict.weight.grad.abs().sum() > 0
    _, coded = made(MENTOR, as_coded=True)
    assert "mask" not in coded.loss(graph, BATCH)
    assert coded.predict is None


@pytest.mark.parametrize("as_coded", [False, True])
def test_cohesion(as_coded):
    graph, model = made(COHESION, num_layers=2, as_coded=as_coded)
    a, blocks = sym(clicks(graph)), []
    for b in ("id", *MODALITIES):
        own = model.video
        if b != "id":
            values, here = feature(graph, b)
            content = model.project[b](values)
            own = torch.where(here, ((model.video**2 + content**2) / 2).sqrt(), model.video.abs())
        x = ego = torch.cat([model.preference[b], own])
        total = 0.0
        for _ in range(2):
            m = a @ x
            x = F.cosine_similarity(m, ego, dim=1)[:, None] * m
            total = total + x
        blocks.append(total)
    rows = torch.cat(blocks, 1)
    s = alike_of(graph, "visual") + alike_of(graph, "audio")
    user = rows[:5] + square(graph, "user", "co_watched", 5) @ rows[:5]
    video = rows[5:] + s @ rows[5:]
    near(both(model.encode(graph)), torch.cat([user, video]))
    gap = torch.stack(
        [
            torch.stack([user[u, k : k + 4] @ (video[v, k : k + 4] - video[j, k : k + 4]) for k in (0, 4, 8)])
            for u, v, j in ((0, 1, 4), (1, 3, 5), (0, 2, 6))
        ]
    )
    terms = model.loss(graph, BATCH)
    near(terms["bpr"], -F.logsigmoid(((1 - gap.softmax(1)) * gap).sum(1)).mean())
    terms["bpr"].backward()
    trained = model.preference["id"].grad is not None and model.preference["id"].grad.abs().sum() > 0
    assert trained != as_coded


@pytest.mark.parametrize("as_coded", [False, True])
def test_grcn_routes_to_the_users_as_published(as_coded):
    graph, model = made(GRCN, routings=2, as_coded=as_coded)
    a, x = clicks(graph), graph.seen.dense()
    content, weights = [], []
    for i, m in enumerate(MODALITIES):
        values, here = feature(graph, m)
        video = F.normalize(F.leaky_relu(model.project[m](values)), dim=1) * here
        user = F.normalize(model.preference[m], dim=1)
        for _ in range(0 if as_coded else 2):
            alpha = (user @ video.T).masked_fill(x == 0, -torch.inf).softmax(1).nan_to_num()
            user = F.normalize(user + alpha @ video, dim=1)
        rows = torch.cat([user, video])
        alpha = (rows @ rows.T).masked_fill(a == 0, -torch.inf).softmax(1).nan_to_num()
        content.append(rows + F.leaky_relu(alpha @ rows))
        has = torch.cat([torch.ones(5, 1, dtype=torch.bool), here])
        weights.append((alpha * model.confidence[:, i]).masked_fill(~(has & has.T), -torch.inf))
    w = torch.stack(weights).amax(0).clamp_min(0) * (a > 0)
    e = model.identity
    near(both(model.encode(graph)), torch.cat([e + w @ e + w @ w @ e, *content], 1))


def test_mvgae_multiplies_the_experts_that_are_there():
    graph, model = made(MVGAE)
    a = clicks(graph)
    a = a / a.sum(1, keepdim=True).clamp_min(1)
    precision, weighted = 0.0, 0.0
    x = graph.seen.dense()
    for e in ("id", *MODALITIES):
        video, here = model.video, torch.ones(7, 1, dtype=torch.bool)
        if e != "id":
            values, here = feature(graph, e)
            video = model.project[e](values) * here
        rows = torch.cat([model.preference[e], video])
        h = F.leaky_relu(model.hidden[e](a @ rows) + model.own[e](rows))
        h = a @ h + h
        mean, log_var = F.normalize(model.mean[e](h), dim=1), model.spread[e](h)
        of_users = torch.ones(5, 1, dtype=torch.bool) if e == "id" else (x @ here.float()) > 0
        p = torch.cat([of_users, here]) / log_var.exp()
        precision, weighted = precision + p, weighted + p * mean
    torch.testing.assert_close(both(model.encode(graph)), weighted / precision, atol=1e-3, rtol=1e-3)
    assert set(model.loss(graph, BATCH)) == {"bpr", "kl"}


@pytest.mark.parametrize("cls", [MGCN, SMORE, LATTICE, MICRO, PGL, DRAGON, DualGNN, COHESION, GUME])
def test_a_graph_without_the_edges_is_refused_with_the_transform_that_mends_it(cls):
    with pytest.raises(ValueError, match=r"ModalityKNN|JoinKNN|UserCoInteraction"):
        cls(twelve_nodes())
