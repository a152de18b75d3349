"""The hybrid against its two sides put on one scale by hand, and what it does for new videos."""

from __future__ import annotations

import torch

from mmgraph.data import Features
from mmgraph.models import ContentMean, Hybrid, ItemKNN, People
from tests.worlds import checkerboard, twelve_nodes


def solved(cls, graph, **arguments):
    model = cls(graph, **arguments)
    model.solve(graph)
    return model


def test_it_is_both_sides_on_one_scale():
    graph = twelve_nodes()
    model = solved(Hybrid, graph, collaborative=0.7, known=3.0, novelty=0.3, k=4)
    users = torch.arange(4)  # user 4 watched nothing
    knn, content = solved(ItemKNN, graph, k=4), solved(ContentMean, graph)
    k, c = knn.score(knn.encode(graph), users), content.score(content.encode(graph), users)
    degree = graph.seen.dense().sum(0)
    gate, warm = degree / (degree + 3), degree > 0
    zc = (c - c.mean(1, keepdim=True)) / c.std(1, keepdim=True, correction=0)
    known = k[:, warm]
    zk = (k - known.mean(1, keepdim=True)) / known.std(1, keepdim=True, correction=0)
    expected = zc + 0.7 * gate * zk + 0.3 * (1 - gate)
    torch.testing.assert_close(model.score(model.encode(graph), users), expected, atol=1e-4, rtol=1e-4)
    alone = model.score(model.encode(graph), torch.tensor([4]))
    torch.testing.assert_close(alone, 0.3 * (1 - gate).unsqueeze(0))  # nothing is known: no side has a say


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
