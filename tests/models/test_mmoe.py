"""Signals of the interactions become tasks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mmgraph.graph import Exposures
from mmgraph.models import LightGCN, MMoE
from mmgraph.models.collaborative.mmoe import SignalBatch, SignalSampler
from mmgraph.train import FitConfig, fit
from tests.worlds import twelve_nodes


def signals():
    graph = twelve_nodes()
    graph["user", "interacts", "video"].like = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0, 1, 0])
    return graph


def test_tasks_are_the_signals_that_the_graph_has():
    assert MMoE(twelve_nodes()).head.tasks == ("click",)
    assert MMoE(signals()).head.tasks == ("click", "like")


def test_each_pair_keeps_its_signals_through_the_shuffle():
    graph = signals()
    liked = {(0, 0), (1, 1), (3, 4)}
    batches = list(SignalSampler(graph, 4, 2, ["click", "like"]).epoch(0, 1))
    assert [len(b.user) for b in batches] == [4, 4, 2]
    for batch in batches:
        assert isinstance(batch, SignalBatch)
        assert batch.labels[:, 0].tolist() == [1.0] * len(batch.user)
        pairs = zip(batch.user.tolist(), batch.positive.tolist(), strict=True)
        assert batch.labels[:, 1].tolist() == [float(p in liked) for p in pairs]


def test_the_loss_is_cross_entropy_by_task():
    graph = signals()
    torch.manual_seed(0)
    model = MMoE(graph, embedding_dim=4)
    batch = next(iter(model.sampler(graph, 10).epoch(0, 0)))
    videos = torch.cat([batch.positive[:, None], batch.negative], 1)
    user, video = model.encode(graph)
    chance = torch.sigmoid(model.head.logits(user[batch.user], video[videos]))
    labels = torch.zeros(10, 5)
    labels[:, 0] = 1
    terms = model.loss(graph, batch)
    torch.testing.assert_close(terms["click"], F.binary_cross_entropy(chance[..., 0], labels) / 2)
    # whether a video nobody showed would have been liked is not known
    torch.testing.assert_close(terms["like"], F.binary_cross_entropy(chance[:, 0, 1], batch.labels[:, 1]) / 2)


def test_a_video_shown_and_passed_by_is_a_zero_of_every_task():
    graph = signals()
    shown = torch.tensor([[0, 0, 1], [0, 6, 5]])  # (0, 0) was chosen too
    graph = Exposures(shown[0], shown[1], torch.zeros(3))(graph)
    sampler = SignalSampler(graph, 100, 2, ["click", "like"])
    (batch,) = sampler.epoch(0, 0)
    assert len(sampler) == 1
    pairs = list(zip(batch.user.tolist(), batch.positive.tolist(), strict=True))
    assert len(pairs) == 12
    assert pairs.count((0, 0)) == 1
    assert batch.labels[pairs.index((0, 6))].tolist() == [0, 0]
    assert batch.labels[pairs.index((1, 5))].tolist() == [0, 0]


def test_it_reads_a_graph():
    torch.manual_seed(0)
    model = MMoE(signals(), embedding_dim=8, propagation=LightGCN)
    assert isinstance(model.propagation, LightGCN)
    assert model.encode(signals()).video.shape == (7, 8)


def test_a_liked_video_scores_higher_for_liking_than_one_only_watched():
    graph = signals()
    torch.manual_seed(0)
    model = MMoE(graph, embedding_dim=8)
    fit(model, graph, config=FitConfig(epochs=60, batch_size=10, learning_rate=0.02), seed=0)
    user, video = model.encode(graph)
    like = model.head.logits(user, video.expand(5, 7, 8))[..., 1]
    assert like[0, 0] > like[0, 1]
    assert like[3, 4] > like[3, 5]
