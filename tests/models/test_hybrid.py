"""The hybrid against its parts made by hand from dense matrices, and what it does for new videos."""

from __future__ import annotations

import pytest
import torch

from mmgraph.data import Features
from mmgraph.models import ContentMean, Hybrid, People
from mmgraph.models.cold.hybrid import PRIOR
from mmgraph.models.cold.imitation import fit_weights, imitate
from tests.worlds import checkerboard, twelve_nodes


def solved(cls, graph, **arguments):
    model = cls(graph, **arguments)
    model.solve(graph)
    return model


def by_hand(graph, content=None, known=3.0, reg=100.0, ridge=10.0):
    """The six parts [6, U, V] from dense matrices."""
    x = graph.seen.dense().clamp(max=1)
    degree = x.sum(0)
    warm = degree > 0

    def scaled(scores, among):
        some = scores[:, among]
        return (scores - some.mean(1, keepdim=True)) / some.std(1, keepdim=True, correction=0).clamp_min(1e-6)

    c = (content or solved(ContentMean, graph)).encode(graph)
    watched = scaled(c.user @ c.video.T, torch.ones_like(warm))
    inverse = torch.linalg.inv(x.T @ x + reg * torch.eye(len(degree)))
    weight = -inverse / inverse.diagonal()
    weight.fill_diagonal_(0)
    together = scaled(x @ weight, warm) * warm
    rows = c.video[warm] - c.video[warm].mean(0)
    gram = rows.T @ rows + ridge * rows.square().sum(1).mean() * torch.eye(rows.shape[1])
    carried = together[:, warm] @ rows @ torch.linalg.inv(gram) @ (c.video - c.video[warm].mean(0)).T
    popular = scaled(degree.clamp_min(1).log().unsqueeze(0), warm) * warm
    time = graph["user", "interacts", "video"].get("time")
    age = torch.zeros_like(popular)
    if time is not None:
        video = graph.interactions()[1]
        first = [float(time[video == v].min()) if warm[v] else float(time.max()) for v in range(len(degree))]
        days = (time.max() - torch.tensor(first, dtype=torch.float64)) / 86_400
        age = scaled(days.log1p().float().unsqueeze(0), warm) * warm
    gated = degree / (degree + known) * together.asinh()
    parts = [watched, scaled(carried, torch.ones_like(warm)), gated, popular, age, (~warm).float().unsqueeze(0)]
    return torch.stack([part.expand(len(x), -1) for part in parts])


def test_it_is_its_parts_weighed():
    graph = twelve_nodes()
    model = solved(Hybrid, graph, known=3.0, novelty=0.3)
    users = torch.arange(4)  # user 4 watched nothing
    mix = model.mix + torch.tensor([0.0, 0, 0, 0, 0, 0.3])
    expected = torch.einsum("p,puv->uv", mix, by_hand(graph)[:, users])
    torch.testing.assert_close(model.score(model.encode(graph), users), expected, atol=1e-4, rtol=1e-4)
    alone = model.score(model.encode(graph), torch.tensor([4]))[0]
    personal = by_hand(graph)[3:, :1].squeeze(1)
    torch.testing.assert_close(alone, mix[3:] @ personal)  # nothing is known of them: what holds for everybody


def test_the_weights_are_those_that_rank_what_is_held_back():
    graph = checkerboard()
    model = solved(Hybrid, graph, hide=0.3, late=0.2, seed=1)
    held = imitate(graph, 0.3, 0.2, 1)
    left, targets = held.graph.seen.dense(), held.targets.dense()
    assert (left + targets <= graph.seen.dense()).all(), "nothing is made up, nothing counts twice"
    hidden = (left.sum(0) == 0) & (targets.sum(0) > 0)
    assert hidden.any(), "some videos are new to what is left"
    # the gradient of the loss, by hand, vanishes at the weights
    parts = by_hand(held.graph, model.content, known=10.0).double()
    mix, prior = model.mix.double(), torch.tensor(PRIOR).double()
    chance = torch.einsum("p,puv->uv", mix, parts).masked_fill((left > 0) | ~held.candidates, -1e9).softmax(1)
    users = targets.sum(1) > 0
    wanted = targets[users].double() / targets[users].sum(1, keepdim=True)
    gap = torch.einsum("puv,uv->p", parts[:, users], chance[users] - wanted) / users.sum()
    torch.testing.assert_close(gap + 10.0 / users.sum() * (mix - prior), torch.zeros(6).double(), atol=2e-4, rtol=0)
    assert torch.equal(model.mix, solved(Hybrid, graph, hide=0.3, late=0.2, seed=1).mix)


def test_without_features_it_is_co_watching_popularity_and_age():
    graph = checkerboard()
    model = solved(Hybrid, graph, modalities=[])
    emb = model.encode(graph)
    assert emb.video.shape == (24, 3)
    parts = model._parts(emb, torch.arange(24))
    assert not parts[0].any()
    assert not parts[1].any()
    scores = model.score(emb, torch.arange(24)).masked_fill(graph.seen.dense() > 0, -1e9)
    assert torch.equal(scores.argmax(1) % 2, torch.arange(24) % 2), "even users like even videos"


def test_with_a_half_life_old_clicks_fade():
    graph = twelve_nodes()
    clicks = graph["user", "interacts", "video"]
    clicks.time = 86_400.0 * torch.arange(clicks.edge_index.shape[1], dtype=torch.float64)
    model = solved(Hybrid, graph, half_life=2.0)
    row = model.encode(graph).user.dense()  # type: ignore[operator]  # a CSR
    user, video = clicks.edge_index
    age = (clicks.time.max() - clicks.time) / 86_400
    assert (row > 0).equal(graph.seen.dense() > 0)
    for u, v, days in zip(user.tolist(), video.tolist(), age.tolist()):
        again = age[(user == u) & (video == v)].min()
        assert row[u, v] == pytest.approx(0.5 ** (float(again) / 2)), days
    del clicks["time"]
    kept = solved(Hybrid, graph, half_life=2.0).encode(graph).user.dense()  # type: ignore[operator]
    assert torch.equal(kept, graph.seen.dense().clamp(max=1))
    with pytest.raises(ValueError, match="half_life must be a number above 0"):
        Hybrid(graph, half_life=0.0)


def test_without_a_click_the_weights_are_the_prior():
    held = imitate(twelve_nodes(), 0.3, 0.0, 0)
    assert held.targets.num_edges == 0
    assert torch.equal(fit_weights(held, lambda users: [], torch.tensor(PRIOR)), torch.tensor(PRIOR))


def test_the_last_clicks_are_held_back():
    graph = twelve_nodes()
    clicks = graph["user", "interacts", "video"]
    clicks.time = torch.arange(clicks.edge_index.shape[1], dtype=torch.float64).flip(0)  # the first edges are the last
    count = clicks.edge_index.shape[1]
    held = imitate(graph, 0.0, 0.25, 0)
    kept = held.graph["user", "interacts", "video"]
    assert torch.equal(kept.edge_index, clicks.edge_index[:, count - round(0.75 * count) :])
    assert torch.equal(kept.time, clicks.time[count - round(0.75 * count) :])
    assert clicks.edge_index.shape[1] == count, "the graph itself is as it was"


def test_a_video_posted_after_training_stands_in_the_same_list():
    graph = checkerboard()
    model = solved(Hybrid, graph)
    even, odd = (graph.features("visual").values[i::2][:1] for i in (0, 1))
    sound = {i: graph.features("audio").values[i::2][:1] for i in (0, 1)}
    new = {
        "visual": Features.of(torch.cat([even, odd]).numpy()),
        "audio": Features.of(torch.cat([sound[0], sound[1]]).numpy()),
    }
    grown = graph.with_videos(new)
    before, after = (model.score(model.encode(g), torch.arange(24)) for g in (graph, grown))
    assert after.shape == (24, 26)
    assert (after[0::2, 24] > after[0::2, 25]).all()
    assert (after[1::2, 25] > after[1::2, 24]).all()
    assert (after[0, 24] > before[0, 1::2]).all()  # above everything the user does not like


def test_new_people_get_the_list_of_known_people_of_the_same_clicks():
    graph = twelve_nodes()
    model = solved(Hybrid, graph)
    emb = model.fold_in(graph, People(graph.seen.select(torch.tensor([3, 0]))[0]))
    known = model.score(model.encode(graph), torch.tensor([3, 0]))
    torch.testing.assert_close(model.score(emb, torch.arange(2)), known)
