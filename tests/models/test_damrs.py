"""DA-MRS, its graphs and its losses against the same maths on dense matrices, with modalities missing."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import DenoisedKNN, PairBatch, VideoCoInteraction
from mmgraph.losses import bernoulli_divergence, doubts, neighbour_nce, two_way_bpr
from mmgraph.models import DAMRS
from mmgraph.testing import alike, twelve_nodes
from tests.worlds import near

BATCH = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([1, 3, 2]), torch.tensor([[4], [5], [6]]))
VIEWS = ("visual", "audio", "watched_with")


def dense(graph, name):
    store = graph["video", name, "video"]
    out = torch.zeros(7, 7)
    out[store.edge_index[1], store.edge_index[0]] = store.weight
    return out


def normal(s):
    d = s.sum(1)
    scale = torch.where(d > 0, d.clamp_min(1e-12).rsqrt(), 0.0)
    return scale[:, None] * s * scale[None]


def test_a_pair_that_one_modality_finds_unlike_is_in_no_graph():
    graph = twelve_nodes()
    cosine, both = {}, {}
    for m in ("visual", "audio"):
        f = graph.features(m)
        unit = F.normalize(f.values, dim=1)
        cosine[m], both[m] = unit @ unit.T, f.present[:, None] & f.present[None]
    mean = {m: cosine[m][both[m]].mean() for m in cosine}
    out = DenoisedKNN(3)(graph)
    for m in cosine:
        expected = torch.zeros(7, 7)
        for i in range(7):
            ok = [
                j
                for j in range(7)
                if both[m][i, j] and all(not both[n][i, j] or cosine[n][i, j] >= mean[n] for n in cosine)
            ]
            for j in sorted(ok, key=lambda j: -cosine[m][i, j])[:3]:
                expected[i, j] = 1
        near(dense(out, f"similar_{m}"), normal(expected))
        assert expected.sum() < both[m].sum()
    # video 2 lacks the visual modality: no edge there, yet it keeps those of the other
    assert not dense(out, "similar_visual")[2].any()
    assert dense(out, "similar_audio")[2].any()


@pytest.mark.parametrize("counts", [False, True])
def test_videos_are_joined_by_the_users_they_share(counts):
    graph = twelve_nodes().with_interactions(torch.tensor([1, 0]), torch.tensor([2, 0]))  # the second repeats a click
    x = graph.seen.dense().clamp(max=1)
    common = (x.T @ x).fill_diagonal_(0)
    kept = torch.where(common >= 2, common, 0.0)
    expected = (kept if counts else (kept > 0).float()) + torch.eye(7)
    near(dense(VideoCoInteraction(5, least=2, counts=counts)(graph), "watched_with"), normal(expected))
    assert kept.count_nonzero() == 2  # videos 1 and 2, by users 0 and 1
    assert (dense(VideoCoInteraction(1, least=1)(graph), "watched_with") > 0).sum(1).max() == 2


def test_two_way_bpr_is_bpr_where_it_has_no_doubt():
    own, other = torch.tensor([1.0, 0.2]), torch.tensor([[0.5], [0.9]])
    gap = own[:, None] - other
    w, r = torch.tensor([[0.7], [1.0]]), torch.tensor([[0.0], [0.4]])
    near(two_way_bpr(own, other, w, r), -(w * F.logsigmoid(gap) + r * F.logsigmoid(-gap)).mean())


def test_doubts_of_two_views():
    said = torch.tensor([[[0.9, 0.7], [0.5, 0.3]], [[0.2, 0.6], [0.8, 1.0]]])
    w, r = doubts(said, torch.ones(2, 2, 2, dtype=torch.bool))
    near(w[:, 0], torch.tensor([0.8, 0.4]) * torch.exp(-2 * torch.tensor([0.02, 0.08])))
    near(r[:, 0], torch.tensor([0.0, 0.0]))  # .65 is what is said of the negatives, but .6 is the most of the second's
    here = torch.tensor([[[True, True], [True, True]], [[True, True], [True, False]]])
    near(doubts(said, here)[1][1], torch.tensor([0.6 - (0.5 + 0.3 + 0.8) / 3]))


def test_bernoulli_divergence_is_both_ways_of_kl():
    a, b = torch.tensor([0.3, -1.2]), torch.tensor([-0.4, 2.0])
    p, q = torch.distributions.Bernoulli(logits=a), torch.distributions.Bernoulli(logits=b)
    kl = torch.distributions.kl_divergence
    near(bernoulli_divergence(a, b), (kl(p, q) + kl(q, p)).mean())
    assert bernoulli_divergence(a, a) == 0


def test_neighbour_nce_takes_the_first_rank_out_of_the_second():
    table = F.normalize(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    here = torch.tensor([True] * 5 + [False])
    e = (table[:1] @ table.T / 0.5).exp()[0] * here
    first, second = torch.tensor([[0, 3]]), torch.tensor([[1]])
    rest = e.sum() - e[0] - e[3]
    expected = -((e[0] + e[3]) / e.sum()).log() - (e[1] / rest).log()
    near(neighbour_nce(3 * table[:1], table, first, second, 0.5, here), expected)
    assert neighbour_nce(table[:0], table, first[:0], second[:0]) == 0


@pytest.mark.parametrize("size", [1, 300])  # within a block of rows, and over several
@pytest.mark.parametrize("absent", [False, True])
def test_neighbour_nce_has_the_gradients_of_its_formula(size, absent):
    generator = torch.Generator().manual_seed(0)
    anchor, table = (torch.randn(n, 3, dtype=torch.float64, generator=generator) for n in (size, 9))
    here = torch.arange(9) != 4
    order = torch.stack([torch.randperm(9, generator=generator) for _ in range(size)])
    # a second rank without a share: a logarithm is not taken of 0, and has no slope there
    ranks = (order[:, :2], order[:, 2:4]) if not absent else (torch.arange(4).repeat(size, 1), torch.full((size, 1), 4))
    ours, plain = ([x.clone().requires_grad_() for x in (anchor, table)] for _ in range(2))
    a, t = (F.normalize(x, dim=1) for x in plain)
    p = (a @ t.T / 0.3).masked_fill(~here, -torch.inf).softmax(1)
    one, two = (p.gather(1, rows).sum(1) for rows in ranks)
    expected = -(one.log() + (two / (1 - one)).clamp_min(1e-10).log()).mean()
    loss = neighbour_nce(*ours, *ranks, 0.3, here)
    near(loss, expected)
    for mine, theirs in zip(torch.autograd.grad(2 * loss, ours), torch.autograd.grad(2 * expected, plain), strict=True):
        near(mine, theirs)


def made(**arguments):
    graph = alike(twelve_nodes())
    torch.manual_seed(0)
    return graph, DAMRS(graph, embedding_dim=4, **arguments).eval()


def parts(graph, model, layers=1):
    x = graph.seen.dense()
    a = torch.zeros(12, 12)
    a[:5, 5:], a[5:, :5] = x, x.T
    d = a.sum(1).clamp_min(1)
    a = a / (d[:, None] * d[None]).sqrt()
    e = torch.cat([model.user, model.video])
    own = (e + a @ e + a @ a @ e) / 3
    views, here = {}, {}
    for name in VIEWS:
        s = dense(graph, name if name == "watched_with" else f"similar_{name}")
        views[name] = torch.linalg.matrix_power(s, layers) @ model.video
        here[name] = torch.ones(7, dtype=torch.bool) if name == "watched_with" else graph.features(name).present
    mean = sum(views[v] * here[v][:, None] for v in VIEWS) / sum(here[v].float() for v in VIEWS)[:, None]
    return own[:5], own[5:], mean, views, here


@pytest.mark.parametrize("layers", [1, 2])
def test_damrs_adds_the_mean_of_the_views_that_are_there(layers):
    graph, model = made(num_similar_layers=layers)
    user, video, mean, _, _ = parts(graph, model, layers)
    emb = model.encode(graph)
    near(emb.user, user)
    near(emb.video, video + mean)


def test_damrs_weighs_its_pairs_by_what_the_views_say():
    graph, model = made()
    user, video, mean, views, here = parts(graph, model)
    with torch.no_grad():
        model.user.mul_(4.0)  # so that the views disagree
    user, video, mean, views, here = parts(graph, model)

    def says(u, v):
        return torch.stack([torch.sigmoid(user[u] @ F.normalize(views[a][v], dim=0)) for a in VIEWS if here[a][v]])

    triples = [(0, 1, 4), (1, 3, 5), (0, 2, 6)]
    other = torch.cat([says(u, j) for u, _, j in triples]).mean()
    total, reversed_ = 0.0, 0
    for u, i, j in triples:
        p = says(u, i)
        w = p.mean() * torch.exp(-p.var()) ** 2
        r = (p.max() - other).clamp(0, 1) if p.mean() < other else torch.tensor(0.0)
        reversed_ += int(r > 0)
        gap = user[u] @ ((video + mean)[i] - (video + mean)[j])
        total = total - w.detach() * F.logsigmoid(gap) - r.detach() * F.logsigmoid(-gap)
    assert reversed_
    near(model.loss(graph, BATCH)["bpr"], total / 3)


def test_damrs_pulls_at_the_neighbours_of_all_views_and_at_those_of_one():
    graph, model = made(neighbours=2, contrast=0.5, temperature=0.4, align=3.0)
    user, video, mean, views, here = parts(graph, model)
    chosen = torch.tensor([1, 2, 3, 4, 5, 6])
    chance = {}
    for a in VIEWS:
        unit = F.normalize(views[a], dim=1)
        chance[a] = (unit @ unit.T).masked_fill(~here[a], -torch.inf).softmax(1)
    terms = []
    for a in VIEWS:
        each = []
        for v in chosen[here[a][chosen]].tolist():
            first = (sum(chance.values()) + chance[a])[v].topk(2).indices
            left = [j for j in chance[a][v].argsort(descending=True).tolist() if j not in first.tolist()][:2]
            cos = F.cosine_similarity(views[a][v][None], views[a], dim=1)
            e = (cos / 0.4).exp() * here[a]
            near_, next_ = e[first].sum(), e[left].sum()
            each.append(-(near_ / e.sum()).log() - (next_ / (e.sum() - near_)).log())
        terms.append(torch.stack(each).mean())
    loss = model.loss(graph, BATCH)
    near(loss["neighbours"], 0.5 * torch.stack(terms).mean())
    total = 0.0
    for u, v in itertools.product((0, 1), chosen.tolist()):
        a, b = user[u] @ F.normalize(video[v], dim=0), user[u] @ F.normalize(mean[v], dim=0)
        total = total + (a.sigmoid() - b.sigmoid()) * (a - b)
    near(loss["divergence"], 3 * total / 12)


def test_damrs_refuses_a_graph_without_its_edges():
    with pytest.raises(ValueError, match="VideoCoInteraction"):
        DAMRS(DenoisedKNN(3)(twelve_nodes()))
    with pytest.raises(ValueError, match="ModalityKNN"):
        DAMRS(VideoCoInteraction()(twelve_nodes()))
