"""MMGCN in both forms against the same maths on dense matrices."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from mmgraph.data.dataset import Features
from mmgraph.models import MMGCN, HeteroMMGCN
from tests.models.test_lightgcn import dense_adjacency
from tests.worlds import twelve_nodes


def double(graph):
    graph = copy.copy(graph)
    for m in graph.modalities:
        graph[m].x = graph[m].x.double()
    return graph


@pytest.mark.parametrize("concat", [False, True])
def test_the_papers_form_equals_the_dense_form(concat):
    graph = twelve_nodes()
    torch.manual_seed(5)
    model = MMGCN(graph, embedding_dim=6, num_layers=2, concat=concat)
    a = dense_adjacency(graph).float()
    mean = a / a.sum(1, keepdim=True).clamp_min(1)
    views = []
    for m in graph.modalities:
        feature = graph.features(m)
        content = (feature.values @ model.project[m].weight.T + model.project[m].bias) * feature.present[:, None]
        x = F.normalize(torch.cat([model.preference[m], content]), dim=1)
        for conv in model.convs[m]:
            h = F.leaky_relu(mean @ (x @ conv.conv.weight["interacts"]))
            own = F.leaky_relu(x @ conv.own.weight.T + conv.own.bias) + model.identity
            if concat:
                x = F.leaky_relu(torch.cat([h, own], 1) @ conv.combine.weight.T + conv.combine.bias)
            else:
                x = F.leaky_relu(h @ conv.combine.weight.T + conv.combine.bias + own)
        views.append(x)
    torch.testing.assert_close(torch.cat(model.encode(graph)), sum(views) / 2, atol=1e-6, rtol=1e-6)


def test_one_heterogeneous_graph_equals_the_dense_form():
    graph = double(twelve_nodes())
    torch.manual_seed(5)
    model = HeteroMMGCN(graph, embedding_dim=6, num_layers=2).double()
    link = dense_adjacency(graph)[:5, 5:]
    c = (link.sum(1)[:, None] * link.sum(0)[None]).sqrt()
    link = torch.where(link > 0, link / c.clamp_min(1e-9), 0)
    state = {"user": model.user, "video": model.video}
    has = {}
    for m in graph.modalities:
        state[m] = F.normalize(graph[m].x @ model.project[m].weight.T + model.project[m].bias, dim=1)
        has[m] = torch.zeros(len(graph[m].x), 7, dtype=torch.float64)
        rows, nodes = graph["video", "has", m].edge_index
        has[m][nodes, rows] = 1
    kept = {t: [s] for t, s in state.items()}
    for layer in model.layers:
        new = {}
        new["user"] = state["user"] @ layer["user"].loop + link @ state["video"] @ layer["user"].weight["video"]
        new["video"] = state["video"] @ layer["video"].loop + link.T @ state["user"] @ layer["video"].weight["user"]
        for m in graph.modalities:
            new["video"] = new["video"] + has[m].T @ state[m] @ layer["video"].weight[m]
            if m in layer:
                new[m] = state[m] @ layer[m].loop + has[m] @ state["video"] @ layer[m].weight["video"]
        state = {t: F.leaky_relu(s) for t, s in new.items()}
        for t, s in state.items():
            kept[t].append(s)
    nodes = model.nodes(graph)
    for t, states in kept.items():
        torch.testing.assert_close(nodes[t], torch.stack(states).mean(0), atol=1e-6, rtol=1e-6)


def test_both_forms_share_their_layers_and_train_all_tables():
    names = dict(MMGCN(twelve_nodes(), embedding_dim=4).named_parameters())
    assert {"identity", "preference.visual", "preference.audio"} <= set(names)


def test_alignment_is_a_term_of_the_joint_loss_only_when_asked():
    graph = twelve_nodes()
    batch = next(iter(HeteroMMGCN(graph).sampler(graph, 8).epoch(0, 0)))
    torch.manual_seed(0)
    one = HeteroMMGCN(graph, align=0.5)
    torch.manual_seed(0)
    twice = HeteroMMGCN(graph, align=1.0)
    torch.testing.assert_close(2 * one.loss(graph, batch)["align"], twice.loss(graph, batch)["align"])
    assert "align" not in HeteroMMGCN(graph, align=0.0).loss(graph, batch)


def test_a_video_added_later_lives_by_its_modalities():
    graph = twelve_nodes()
    model = HeteroMMGCN(graph, embedding_dim=8)
    before = model.encode(graph)
    more = graph.with_videos({"visual": Features(torch.randn(2, 5), torch.tensor([True, False]))})
    after = model.encode(more)
    assert torch.equal(after.video[:7], before.video)
    assert after.video[7].abs().sum() > 0
    assert after.video[8].abs().sum() == 0


def test_a_graph_without_the_modality_is_refused():
    with pytest.raises(ValueError, match="smell"):
        MMGCN(twelve_nodes(), modalities=["smell"])
