"""DiffMM against the same maths on the dense 12-node graph, with a modality missing here and there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import PairSampler, PairUserBatch, PairUserSampler
from mmgraph.models import DiffMM
from mmgraph.nn.fusion import present_softmax
from mmgraph.testing import checkerboard, twelve_nodes
from tests.worlds import near

BATCH = PairUserBatch(
    torch.tensor([0, 1, 0]), torch.tensor([1, 3, 2]), torch.tensor([[4], [5], [6]]), torch.tensor([0, 3, 4])
)
MODALITIES = ("visual", "audio")


def made(**arguments):
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = DiffMM(graph, embedding_dim=4, hidden=8, **arguments).eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([0.3, -0.4]))
    return graph, model


def normal(x, loops=False):
    a = torch.zeros(12, 12)
    a[:5, 5:], a[5:, :5] = x, x.T
    a = a + torch.eye(12) if loops else a
    d = a.sum(1).clamp_min(1)
    return a / (d[:, None] * d[None]).sqrt()


def parts(graph, model, loops=False):
    """Dense Â, and of each modality G_m, c_m and presence."""
    x, out = graph.seen.dense(), {}
    for m in MODALITIES:
        f = graph.features(m)
        scores = model.generate[m].diffusion.generate(graph.seen).masked_fill(~f.present, -torch.inf)
        g = torch.zeros(5, 7).scatter_(1, scores.topk(2, 1).indices, 1.0) * (x.sum(1, keepdim=True) > 0)
        content = model.project[m](f.values) * f.present[:, None]
        here = torch.cat([(x @ f.present.float()) > 0, f.present])
        out[m] = normal(g), content, here
    return normal(x, loops), out


def main(a, out, model):
    views = []
    for g, content, _ in out.values():
        own = a @ torch.cat([model.user, F.normalize(content, dim=1)])
        both = torch.cat([model.user, model.video])
        views.append(own + a @ torch.cat([own[:5], model.video]) + 0.3 * (g @ both))
    w = present_softmax(model.weight.expand(12, -1), torch.stack([here for _, _, here in out.values()], 1))
    x = sum(w[:, i : i + 1] * v for i, v in enumerate(views))
    return x + a @ x + a @ a @ x + 0.7 * F.normalize(x, dim=1)


def test_diffmm_propagates_over_what_it_generates():
    graph, model = made(num_layers=2, k=2, generated=0.3, fused=0.7)
    a, out = parts(graph, model)
    emb = model.encode(graph)
    near(torch.cat([emb.user, emb.video]), main(a, out, model))
    assert not out["visual"][0][7].any()  # video 2 lacks the visual modality: nobody is joined to it


def test_diffmm_as_coded_ranks_with_the_edges_of_its_training_and_with_loops():
    graph, model = made(num_layers=2, k=2, generated=0.3, fused=0.7, as_coded=True)
    drawn = {m: torch.full((5, 2), -1) for m in MODALITIES}
    drawn["audio"][0, 0] = 3
    for m, edges in drawn.items():
        model.generate[m].edges.copy_(edges)
    x = torch.zeros(5, 7)
    a, out = parts(graph, model, loops=True)
    out["visual"] = (2 * normal(x, loops=True), *out["visual"][1:])
    x[0, 3] = 1
    out["audio"] = (2 * normal(x, loops=True), *out["audio"][1:])
    emb = model.encode(graph)
    near(torch.cat([emb.user, emb.video]), main(a, out, model))


@pytest.mark.parametrize("anchor", ["main", "modalities"])
def test_diffmm_contrasts_with_all_nodes(anchor):
    graph, model = made(num_layers=1, k=2, contrast=0.5, temperature=0.4, anchor=anchor, l2=0.1)
    a, out = parts(graph, model)
    views = []
    for g, content, _ in out.values():
        start = g @ torch.cat([model.user, F.normalize(content, dim=1)])
        views.append(start + a @ start)
    whole = model.encode(graph)
    pairs = [(torch.cat(whole), v) for v in views] if anchor == "main" else [tuple(views)]
    total = 0.0
    for x, y in pairs:
        for kind, rows in ((slice(0, 5), [0, 1]), (slice(5, 12), [1, 2, 3])):
            logits = F.normalize(x[kind], dim=1)[rows] @ F.normalize(y[kind], dim=1).T / 0.4
            total = total + F.cross_entropy(logits, torch.tensor(rows))
    terms = model.loss(graph, BATCH)
    near(terms["contrast"], 0.5 * total)
    near(terms["l2"], 0.1 * (model.user.square().sum() + model.video.square().sum()))


def test_the_denoisers_terms_reach_the_denoisers_alone():
    graph, model = made(inject=2.0)
    torch.manual_seed(1)
    terms = model.loss(graph, BATCH)
    torch.manual_seed(1)
    clean, noise, content = graph.seen.dense()[BATCH.others], 0.0, 0.0
    for m in MODALITIES:
        guess, term = model.generate[m].diffusion.predict(clean)
        f = graph.features(m)
        projected = model.project[m](f.values) * f.present[:, None]
        content = content + (guess @ projected - (clean * f.present) @ model.video).square().mean()
        noise = noise + term
    near(terms["diffusion"], noise)
    near(terms["injection"], 2.0 * content)
    (terms["diffusion"] + terms["injection"]).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.generate.parameters())
    assert all(p.grad is None for p in (model.user, model.video, *model.project.parameters()))


def test_a_training_step_draws_the_rows_of_its_users():
    graph, model = made(dropout=0.0)
    before = model.encode(graph)
    model.train()
    model.loss(graph, BATCH)
    drawn = model.generate["audio"].edges[:, 0] >= 0
    assert drawn.tolist() == [True, False, False, True, False]  # user 4 has no clicks
    model.eval()
    assert torch.equal(model.encode(graph).user, before.user)  # what is ranked depends on the weights alone
    with pytest.raises(ValueError, match="anchor"):
        DiffMM(graph, anchor="both")


def test_the_sampler_gives_pairs_as_ever_and_each_user_once():
    graph = checkerboard()
    sampler, pairs = PairUserSampler(graph, 50), PairSampler(graph, 50)
    batches = list(sampler.epoch(3, 1))
    assert len(batches) == len(sampler) == len(pairs)
    for batch, pair in zip(batches, pairs.epoch(3, 1), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch[:3], pair, strict=True))
    others = torch.cat([b.others for b in batches])
    assert sorted(others.tolist()) == list(range(24))
    assert not torch.equal(others, torch.cat([b.others for b in sampler.epoch(3, 2)]))
    assert max(len(b.others) for b in batches) - min(len(b.others) for b in batches) <= 1
