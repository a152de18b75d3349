"""Small layers that several models share: sums of layers, presence, weights of modalities, a batch's own videos."""

from __future__ import annotations

import pytest
import torch

from mmgraph.models import ContentMean, Embeddings, MultVAE, People, Rows
from mmgraph.models.closed.linear import ridge_map, sparse_clicks
from mmgraph.models.collaborative.contrastive import contrast_with_all
from mmgraph.nn.content import hide_at_random
from mmgraph.nn.fusion import from_alike, like_minded, node_presence, present_weights
from mmgraph.nn.profile import clicks_of_some
from mmgraph.nn.propagation import clicks_among_nodes, last_layer, layer_sum
from mmgraph.nn.vae import log_var_layer
from mmgraph.testing import alike, twelve_nodes


def test_layers_are_powers_of_the_matrix():
    a, x = twelve_nodes().adjacency("interacts"), torch.randn(12, 3)
    dense, rows = a.dense(), torch.tensor([11, 2])
    torch.testing.assert_close(layer_sum(a, x, 2), x + dense @ x + dense @ dense @ x)
    torch.testing.assert_close(last_layer(a, x, 2), dense @ dense @ x)
    torch.testing.assert_close(last_layer(a, x, 2, rows), (dense @ dense @ x)[rows])
    torch.testing.assert_close(last_layer(a, x, 0), x)


def test_clicks_with_loops_count_a_node_among_its_neighbours():
    graph = twelve_nodes()
    torch.testing.assert_close(clicks_among_nodes(graph).dense(), graph.adjacency("interacts").dense())
    plain = torch.zeros(12, 12)
    plain[:5, 5:] = graph.seen.dense().clamp(max=1)
    looped = plain + plain.T + torch.eye(12)
    scale = looped.sum(1).rsqrt()
    torch.testing.assert_close(clicks_among_nodes(graph, loops=True).dense(), looped * scale * scale[:, None])


def test_what_like_videos_and_like_minded_users_say():
    graph = alike(twelve_nodes())
    x = torch.randn(graph.num_videos, 3)
    each = [graph.relation(("video", f"similar_{m}", "video"), norm=None).dense() for m in graph.modalities]
    dense = torch.stack(each).sum(0)
    torch.testing.assert_close(from_alike(graph, graph.modalities, x), dense @ x)
    torch.testing.assert_close(from_alike(graph, graph.modalities, x, torch.tensor([3])), (dense @ x)[[3]])
    assert like_minded(graph).shape == (graph.num_users, graph.num_users)
    with pytest.raises(
        ValueError, match="'co_watched' edges are read, which this graph lacks: apply UserCoInteraction"
    ):
        like_minded(twelve_nodes())


def test_presence_and_weights_of_modalities():
    graph = twelve_nodes()
    here = graph.features("visual").present
    watched = (graph.seen.dense() @ here.float()) > 0
    assert node_presence(graph, here).tolist() == [*watched.tolist(), *here.tolist()]
    present = torch.tensor([[True, True], [True, False], [False, False]])
    weights = present_weights(torch.tensor([0.0, 1.0]), present)
    torch.testing.assert_close(weights[0], torch.tensor([0.0, 1.0]).softmax(0))
    assert weights[1:].tolist() == [[1, 0], [0, 0]]
    assert present_weights(None, present[:, :1]).flatten().tolist() == [1, 1, 0]


def test_a_batch_reads_its_videos_and_what_its_users_watched():
    clicks = twelve_nodes().seen
    users, videos = torch.tensor([0, 3]), torch.tensor([2, 6])
    local, need, at = clicks_of_some(clicks, users, videos)
    watched = clicks.dense()[users].any(0).nonzero().flatten()
    assert need.tolist() == sorted({*watched.tolist(), *videos.tolist()})
    assert need[at].tolist() == videos.tolist()
    torch.testing.assert_close(local.dense(), clicks.dense()[users][:, need])


def test_hidden_modalities_leave_one_of_those_that_are_there():
    torch.manual_seed(0)
    present = {"a": torch.rand(500) < 0.7, "b": torch.rand(500) < 0.7}
    kept = hide_at_random(present, 0.4)
    had, has = torch.stack(list(present.values())), torch.stack(list(kept.values()))
    assert not (has & ~had).any()
    assert torch.equal(had.any(0), has.any(0))
    both = had.all(0)
    assert 0.1 < float((~has[:, both]).float().mean()) < 0.4  # 0.4 each, but for the one that is kept
    assert all(torch.equal(kept, present[m]) for m, kept in hide_at_random(present, 0.0).items())


def test_log_variances_start_near_where_they_are_told_to():
    layer = log_var_layer(32, start=-3.0)
    assert (layer(torch.randn(50, 32)) + 3).abs().max() < 0.5
    assert layer.weight.std() > 0.005


def test_ridge_and_rows_of_clicks():
    x = torch.randn(9, 4)
    lam = 2.0 * x.square().sum(1).mean()
    torch.testing.assert_close(ridge_map(x, 2.0), torch.linalg.inv(x.T @ x + lam * torch.eye(4)) @ x.T)
    assert ridge_map(x[:0], 2.0).shape == (4, 0)
    clicks = torch.tensor([[0.0, 0.5, 0.0], [1.0, 0.0, 2.0]])
    torch.testing.assert_close(sparse_clicks(clicks).dense(), clicks)


def test_a_contrast_with_all_has_every_node_of_a_kind_as_a_negative():
    first, second = (Embeddings(torch.randn(5, 4), torch.randn(7, 4)) for _ in range(2))
    chosen = torch.tensor([4, 0]), torch.tensor([6])
    terms = contrast_with_all(first, second, Rows(*chosen), 0.5)
    for term, a, b, rows in zip(terms, first, second, chosen, strict=True):
        cosine = torch.nn.functional.cosine_similarity(a[rows, None], b[None], dim=2) / 0.5
        torch.testing.assert_close(term, (cosine.logsumexp(1) - cosine[torch.arange(len(rows)), rows]).mean())


def test_a_model_that_reads_clicks_alone_says_so():
    graph = twelve_nodes()
    strangers = People(features=torch.zeros(2, 3))
    for model in (ContentMean(graph), MultVAE(graph, embedding_dim=4)):
        with pytest.raises(ValueError, match=f"{type(model).__name__} reads clicks: a profile alone is not enough"):
            strangers.clicks_for(model, graph.num_videos)
        with pytest.raises(ValueError, match=f"{type(model).__name__} reads clicks: a profile alone is not enough"):
            model.fold_in(graph, strangers)
