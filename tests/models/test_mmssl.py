"""MMSSL against the same maths on the dense 12-node graph, with a modality missing here and there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import PairBatch
from mmgraph.losses import info_nce
from mmgraph.models import MMSSL
from mmgraph.nn.critic import Tastes
from mmgraph.nn.fusion import ModalityAttention
from mmgraph.testing import twelve_nodes
from tests.worlds import near

BATCH = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([1, 3, 2]), torch.tensor([[4], [5], [6]]))
MODALITIES = ("visual", "audio")


def made(**arguments):
    graph = twelve_nodes()
    torch.manual_seed(0)
    return graph, MMSSL(graph, embedding_dim=4, num_heads=2, **arguments).eval()


def half(a):
    return a / a.sum(1, keepdim=True).clamp_min(1).sqrt()


def content(graph, model):
    x, out = graph.seen.dense(), {}
    for m in MODALITIES:
        f = graph.features(m)
        user = half(x) @ (model.project[m](f.values) * f.present[:, None])
        out[m] = user, half(x.T) @ user
    return out


def test_attention_over_the_modalities_that_are_there():
    torch.manual_seed(0)
    layer = ModalityAttention(4, 2)
    views = {m: torch.randn(3, 4) for m in "abc"}
    present = {"a": torch.tensor([True, True, False]), "b": torch.tensor([True, False, False])}
    present["c"] = torch.tensor([True, True, False])
    out = layer(views, present)
    for row, names in ((0, "abc"), (1, "ac")):
        total = 0.0
        for m in names:
            heads = []
            for h in (slice(0, 2), slice(2, 4)):
                q = layer.query(views[m][row])[h]
                logits = torch.stack([q @ layer.key(views[n][row])[h] for n in names]) / 2**0.5
                heads.append(sum(w * views[n][row] for w, n in zip(logits.softmax(0), names, strict=True)))
            total = total + layer.join(torch.cat(heads))
        near(out[row], total / len(names))
    assert not out[2].any()
    with pytest.raises(ValueError, match="multiple"):
        ModalityAttention(6, 4)


@pytest.mark.parametrize("as_coded", [False, True])
def test_mmssl_sees_ids_through_what_the_content_suggests(as_coded):
    graph, model = made(k=2, as_coded=as_coded)
    x = graph.seen.dense()
    user, video = model.user, model.video
    if not as_coded:
        users, videos, of_users, of_videos = {}, {}, {}, {}
        for m, (u, v) in content(graph, model).items():
            here = graph.features(m).present
            cosine = F.cosine_similarity(u[:, None], v[None], dim=2).masked_fill(~here, -2)
            g = torch.zeros(5, 7).scatter_(1, cosine.topk(2, 1).indices, 1.0)
            of_users[m], of_videos[m] = (x @ here.float()) > 0, here
            g = g * of_users[m][:, None]
            users[m], videos[m] = half(g) @ model.video, half(g.T) @ model.user
            near(model.parts(graph).ids[m].user, users[m])
            near(model.parts(graph).ids[m].video, videos[m])
        user = user + 0.36 * F.normalize(model.attend(users, of_users), dim=1)
        video = video + 0.36 * F.normalize(model.attend(videos, of_videos), dim=1)
    layers = [(user, video)]
    for last in (False, True):
        following = half(x) @ video
        if as_coded and last:
            following = following.softmax(1)
        video = half(x.T) @ (following if as_coded else user)
        user, video = following, video.softmax(1) if as_coded and last else video
        layers.append((user, video))
    expected = [torch.stack([pair[i] for pair in layers]).mean(0) for i in (0, 1)]
    for pair in content(graph, model).values():
        expected = [e + 0.55 * F.normalize(c, dim=1) for e, c in zip(expected, pair, strict=True)]
    emb = model.encode(graph)
    near(emb.user, expected[0])
    near(emb.video, expected[1])


def test_mmssl_terms():
    graph, model = made(k=2, contrast=0.5, temperature=0.3, feature_l2=2.0, l2=0.1, generator=0.7, noise=0.0)
    parts, users, videos = model.parts(graph), torch.tensor([0, 1]), torch.arange(1, 7)
    torch.manual_seed(1)
    terms = model.loss(graph, BATCH)
    each = content(graph, model).values()
    near(terms["features"], 2.0 * sum(t.square().sum() for pair in each for t in pair) / 14)
    final = parts.final
    near(terms["l2"], 0.1 * (final.user[users].square().sum() + final.video[videos].square().sum()) / 6)
    nce = [info_nce(parts.ids[m].user[users], final.user[users], 0.3, intra=True) for m in MODALITIES]
    near(terms["contrast"], 0.5 * sum(nce))
    learned = torch.cat([F.normalize(u[users] @ v.T, dim=1) for u, v in each])
    seen = graph.seen.dense()[users]
    real = (seen / 0.005).softmax(1) + 100 * F.normalize(final.user[users] @ final.video.T, dim=1)
    real = F.normalize(real, dim=1).repeat(2, 1)
    torch.manual_seed(1)
    torch.rand_like(seen)  # the Gumbel noise, here of weight 0
    critic, generator = model.critic(real, learned)
    near(terms["critic"], critic)
    near(terms["generator"], 0.7 * generator)


def test_as_coded_leaves_out_what_never_works_there_and_hides_what_was_seen():
    graph, model = made(as_coded=True)
    assert model.attend is None
    assert "contrast" not in model.loss(graph, BATCH)
    assert not model.parts(graph).ids
    seen = graph.seen.dense()
    tastes = Tastes(*model.encode(graph), seen)
    assert not tastes.dense()[seen > 0].any()
    weight, bias = torch.randn(3, 7), torch.randn(3)
    for rows in (tastes, tastes._replace(hidden=None)):
        near(rows.through(weight, bias), F.linear(rows.dense(), weight, bias))


def test_the_generator_term_trains_the_projection_and_not_the_critic():
    graph, model = made()
    model.loss(graph, BATCH)["generator"].backward()
    assert all(model.project[m].weight.grad.abs().sum() > 0 for m in MODALITIES)
    assert all(p.grad is None for p in model.critic.parameters())
