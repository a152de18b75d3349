"""Signals of the interactions become tasks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mmgraph.models import MMoE
from mmgraph.models.mmoe import SignalBatch, SignalSampler
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
    logits = model.head.logits(model.user[batch.user], model.video[videos])
    labels = torch.zeros(10, 5)
    labels[:, 0] = batch.labels[:, 1]
    expected = F.binary_cross_entropy(torch.sigmoid(logits[..., 1]), labels) / 2
    torch.testing.assert_close(model.loss(graph, batch)["like"], expected)


def test_a_liked_video_scores_higher_for_liking_than_one_only_watched():
    graph = signals()
    torch.manual_seed(0)
    model = MMoE(graph, embedding_dim=8)
    fit(model, graph, config=FitConfig(epochs=60, batch_size=10, learning_rate=0.02), seed=0)
    like = model.head.logits(model.user, model.video.expand(5, 7, 8))[..., 1]
    assert like[0, 0] > like[0, 1]
    assert like[3, 4] > like[3, 5]
