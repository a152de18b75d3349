"""DSSM's two towers against the same maths row by row."""

from __future__ import annotations

import math

import torch

from mmgraph.graph.samplers import PairBatch
from mmgraph.models import DSSM
from tests.worlds import twelve_nodes


def tower(layers, x):
    """x + MLP(x)."""
    return x + layers[2](torch.relu(layers[0](x)))


def test_towers_read_ids_content_and_the_mean_of_what_was_watched():
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = DSSM(graph, embedding_dim=6, hidden=5)
    emb = model.encode(graph)
    inputs = []
    for v in range(7):
        x = model.video[v]
        for m in graph.modalities:
            feature = graph.features(m)
            if feature.present[v]:
                x = x + model.project[m](feature.values[v])
        inputs.append(x)
        torch.testing.assert_close(emb.video[v], tower(model.video_tower, x), atol=1e-5, rtol=1e-5)
    for u, watched in enumerate([[0, 1, 2], [1, 3], [2, 4], [0, 4, 5], []]):
        x = model.user[u] + (sum(inputs[v] for v in watched) / len(watched) if watched else 0)
        torch.testing.assert_close(emb.user[u], tower(model.user_tower, x), atol=1e-5, rtol=1e-5)


def test_the_softmax_corrects_for_how_often_a_video_is_drawn():
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = DSSM(graph, embedding_dim=6, temperature=0.5)
    batch = PairBatch(torch.tensor([0, 2]), torch.tensor([1, 2]), torch.zeros(2, 1, dtype=torch.long))
    # a profile leaves out the video being predicted: user 0 watched 0, 1, 2 and user 2 watched 2, 4
    content = model._content(graph)
    own = torch.stack([model.user[0] + (content[0] + content[2]) / 2, model.user[2] + (content[4]) / 1])
    emb = model.encode(graph)
    users = tower(model.user_tower, own)
    scores = [[torch.cosine_similarity(u, emb.video[v], dim=0) / 0.5 for v in (1, 2)] for u in users]
    drawn = [math.log(2), math.log(2)]  # videos 1 and 2 have 2 interactions each; a constant cancels
    loss = 0.0
    for i in range(2):
        logits = torch.stack([scores[i][j] - drawn[j] for j in range(2)])
        loss = loss - torch.log_softmax(logits, 0)[i] / 2
    torch.testing.assert_close(model.loss(graph, batch)["softmax"], loss, atol=1e-5, rtol=1e-5)
