"""Small layers that several models share: sums of layers, presence, weights of modalities, a batch's own videos."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmgraph.graph import PairBatch
from mmgraph.models import ContentMean, Embeddings, MultVAE, People, Rows, batch_rows
from mmgraph.models.clicks import ReadsClicks, row_a_pair
from mmgraph.models.closed.linear import ridge_map, sparse_clicks
from mmgraph.models.collaborative.contrastive import contrast_with_all
from mmgraph.nn.content import hide_at_random
from mmgraph.nn.fusion import from_alike, like_minded, node_presence, present_weights
from mmgraph.nn.profile import clicks_of_some
from mmgraph.nn.projection import SkipTower
from mmgraph.nn.propagation import clicks_among_nodes, last_layer, layer_sum
from mmgraph.nn.tables import normal_table, xavier_table
from mmgraph.nn.vae import log_var_layer
from mmgraph.testing import alike, twelve_nodes


def test_layers_are_powers_of_the_matrix():
    a, x = twelve_nodes().adjacency("interacts"), torch.randn(12, 3)
    dense, rows = a.dense(), torch.tensor([11, 2])
    torch.testing.assert_close(layer_sum(a, x, 2), x + dense @ x + dense @ dense @ x)
    torch.testing.assert_close(last_layer(a, x, 2), dense @ dense @ x)
    torch.testing.assert_close(last_layer(a, x, 2, rows), (dense @ dense @ x)[rows])
    torch.testing.assert_close(last_layer(a, x, 0), x)


def test_tables_begin_as_their_names_say_from_the_numbers_that_torch_draws():
    torch.manual_seed(0)
    made = normal_table(400, 50, std=0.2), xavier_table(400, 50), xavier_table(400, 50, normal=True)
    torch.manual_seed(0)
    torch.testing.assert_close(made[0].data, 0.2 * torch.randn(400, 50))
    torch.testing.assert_close(made[1].data, (2 * torch.rand(400, 50) - 1) * (6 / 450) ** 0.5)
    for table, std in zip(made, (0.2, (2 / 450) ** 0.5, (2 / 450) ** 0.5), strict=True):
        assert table.requires_grad
        assert table.std().item() == pytest.approx(std, rel=0.02)
    assert made[1].abs().max() <= (6 / 450) ** 0.5 < made[2].abs().max()


def test_a_skip_tower_is_what_it_reads_plus_its_layers():
    tower = SkipTower(3, 5, nn.ReLU())
    x = torch.randn(4, 3)
    hidden = torch.relu(x @ tower[0].weight.T + tower[0].bias)
    torch.testing.assert_close(tower(x), x + hidden @ tower[2].weight.T + tower[2].bias)
    assert list(tower.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_what_reads_clicks_says_who_came_later_from_them_alone():
    graph = twelve_nodes()
    model = MultVAE(graph, embedding_dim=4, hidden=6).eval()
    clicks = graph.seen.select(torch.tensor([3, 0]))[0]
    later = model.fold_in(graph, People(clicks=clicks))
    torch.testing.assert_close(later.user, model.encode(graph, Rows(torch.tensor([3, 0]))).user)
    assert not later.user.requires_grad
    with pytest.raises(ValueError, match="MultVAE reads clicks"):
        model.fold_in(graph, People(features=torch.zeros(2, 3)))
    with pytest.raises(NotImplementedError, match="ReadsClicks has no of_clicks"):
        ReadsClicks().fold_in(graph, People(clicks=clicks))


def test_a_row_a_pair_keeps_the_videos():
    batch = PairBatch(torch.tensor([7, 2, 7]), torch.tensor([5, 5, 1]), torch.tensor([[1], [9], [5]]))
    rows, at = row_a_pair(batch, *batch_rows(batch))
    assert rows.user.tolist() == [7, 2, 7]
    assert at.user.tolist() == [0, 1, 2]
    assert rows.video[at.candidates].tolist() == batch.candidates.tolist() == [[5, 1], [5, 9], [1, 5]]


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
