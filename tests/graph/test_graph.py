"""The graph, its adjacency, its transforms and its samplers."""

from __future__ import annotations

import copy

import polars as pl
import pytest
import torch

from mmgraph.data import Dataset, Split, leave_last_one_out
from mmgraph.data.dataset import Features
from mmgraph.graph import (
    EdgeDrop,
    ModalityKNN,
    PairSampler,
    RowBatch,
    RowSampler,
    Sampler,
    ScaleFeatures,
    TimeDecay,
    Transform,
    build_graph,
)
from mmgraph.graph.samplers import Draws, epoch_generator
from tests.worlds import twelve_nodes


def test_modalities_are_nodes_and_a_missing_one_is_a_missing_edge():
    graph = twelve_nodes()
    assert graph.modalities == ["visual", "audio"]
    assert graph.feature_dims == {"visual": 5, "audio": 3}
    assert graph["video", "has", "visual"].edge_index[0].tolist() == [0, 1, 3, 4, 5, 6]
    feature = graph.features("visual")
    assert feature.present.tolist() == [True, True, False, True, True, True, True]
    assert feature.values[2].abs().sum() == 0
    assert torch.equal(feature.values[3], graph["visual"].x[2])
    assert graph.node_of("visual").tolist() == [0, 1, -1, 2, 3, 4, 5]
    with pytest.raises(KeyError, match="smell"):
        graph.features("smell")


def test_sym_adjacency_is_one_over_root_of_degrees():
    graph = twelve_nodes()
    a = graph.adjacency("interacts", norm="sym")
    dense = a.dense()
    assert dense.shape == (12, 12)
    # user 0 has 3 videos, video 0 has 2 users
    assert dense[0, 5].item() == pytest.approx((3 * 2) ** -0.5)
    assert torch.equal(dense, dense.T)
    assert a.transpose() is a
    assert dense[4].abs().sum() == 0
    assert dense[5 + 6].abs().sum() == 0


def test_row_adjacency_is_the_mean_over_neighbours():
    dense = twelve_nodes().adjacency("interacts", norm="row").dense()
    sums = dense.sum(1)
    assert sums[[4, 11]].tolist() == [0, 0]
    torch.testing.assert_close(sums[:4], torch.ones(4))


def test_adjacency_over_several_types_stacks_the_nodes_in_graph_order():
    graph = twelve_nodes()
    types = [("user", "interacts", "video"), ("video", "has", "audio")]
    assert graph.offsets(types) == {"user": 0, "video": 5, "audio": 12}
    dense = graph.adjacency(types, norm=None).dense()
    assert dense.shape == (18, 18)
    assert dense[5, 12] == 1
    assert dense[12, 5] == 1
    assert dense.sum() == 2 * (10 + 6)


def test_relation_is_target_by_source_with_root_of_both_degrees():
    graph = twelve_nodes()
    dense = graph.relation("interacts").dense()
    assert dense.shape == (7, 5)
    assert dense[0, 0].item() == pytest.approx((2 * 3) ** -0.5)


def test_derived_matrices_are_cached_and_never_stale():
    graph = twelve_nodes()
    first = graph.adjacency("interacts")
    assert graph.adjacency("interacts") is first
    graph["user", "interacts", "video"].edge_index = graph["user", "interacts", "video"].edge_index[:, :3]
    assert graph.adjacency("interacts").num_edges == 6
    other = copy.copy(graph)
    other["visual"].x = other["visual"].x * 2
    assert torch.equal(other.features("visual").values, 2 * graph.features("visual").values)
    other["visual"].x.mul_(0)  # written in place
    assert other.features("visual").values.abs().sum() == 0


def test_unknown_edge_type_is_named():
    with pytest.raises(KeyError, match="'likes' names 0 edge types"):
        twelve_nodes().adjacency("likes")


def test_with_interactions_leaves_the_old_graph_alone():
    graph = twelve_nodes()
    more = graph.with_interactions(torch.tensor([4]), torch.tensor([6]))
    assert len(graph.interactions()[0]) == 10
    assert more.seen.dense()[4].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert more["video", "rev_interacts", "user"].edge_index[:, -1].tolist() == [6, 4]
    with pytest.raises(ValueError, match="video holds 7 "):
        graph.with_interactions(torch.tensor([0]), torch.tensor([7]))


def test_with_interactions_asks_for_times_where_there_are_times():
    graph = twelve_nodes()
    graph["user", "interacts", "video"].time = torch.arange(10.0)
    with pytest.raises(ValueError, match="give `time`"):
        graph.with_interactions(torch.tensor([4]), torch.tensor([6]))


def logged(**protocol) -> Split:
    """Six users with five videos each; every third interaction is finished, likes are known for half of them."""
    rows = [
        (u, v, float(10 * u + v), v % 3 == 0, 1 if v < 3 else None, "app", v, v) for u in range(6) for v in range(5)
    ]
    schema = ["user_id", "video_id", "timestamp", "finish", "like", "device", "position", "place"]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return leave_last_one_out(Dataset.from_frames(frame), **protocol)


def test_signals_of_the_interactions_lie_on_their_edges():
    split = logged()
    for stage in ("valid", "test"):
        store = build_graph(split, stage)["user", "interacts", "video"]
        assert store.finish.dtype == torch.float32
        assert torch.equal(store.finish, (store.edge_index[1] % 3 == 0).float())
        assert torch.equal(store.like.isnan(), store.edge_index[1] >= 3)
        assert {"device", "position", "user", "video"}.isdisjoint(store.keys())  # words, and what has a part of its own
        assert "place" in store
    assert "place" not in build_graph(logged(order_by="place"))["user", "interacts", "video"]
    only = build_graph(split, signals=["finish"])["user", "interacts", "video"]
    assert "finish" in only
    assert "like" not in only
    with pytest.raises(KeyError, match="no signal 'share'"):
        build_graph(split, signals=["share"])


def test_a_new_interaction_brings_its_signals_or_leaves_them_unknown():
    graph = build_graph(logged(), signals=["finish", "like"])
    before = graph["user", "interacts", "video"].finish
    new, at = torch.tensor([0, 1]), torch.tensor([1e3, 1e3])
    more = graph.with_interactions(new, new, at, signals={"finish": torch.tensor([1, 0])})
    store = more["user", "interacts", "video"]
    assert torch.equal(store.finish, torch.cat([before, torch.tensor([1.0, 0.0])]))
    assert store.like[-2:].isnan().all()
    assert len(EdgeDrop(0.5)(more)["user", "interacts", "video"].like) == round(store.edge_index.shape[1] / 2)
    with pytest.raises(KeyError, match="share"):
        graph.with_interactions(new, new, at, signals={"share": new})
    with pytest.raises(ValueError, match=r"signals\['finish'\] must be \[2\]"):
        graph.with_interactions(new, new, at, signals={"finish": new[:1]})


def test_with_videos_appends_rows_and_has_edges():
    graph = twelve_nodes()
    new = Features(torch.randn(3, 5), torch.tensor([False, True, True]))
    more = graph.with_videos({"visual": new})
    assert (graph.num_videos, more.num_videos) == (7, 10)
    assert torch.equal(more.features("visual").values[8:], new.values[1:])
    assert more.features("visual").present[7:].tolist() == [False, True, True]
    assert not more.features("audio").present[7:].any()
    assert more.adjacency("interacts").shape == (15, 15)
    with pytest.raises(ValueError, match="width 4, but the graph's is 5"):
        graph.with_videos({"visual": Features(torch.randn(1, 4), torch.ones(1, dtype=torch.bool))})


def test_modality_knn_equals_a_dense_oracle():
    transform: Transform = ModalityKNN("visual", k=2)
    graph = transform(twelve_nodes())
    feature = graph.features("visual")
    unit = torch.nn.functional.normalize(feature.values, dim=1)
    sim = unit @ unit.T
    sim.fill_diagonal_(-2)
    sim[~feature.present] = -2
    sim[:, ~feature.present] = -2
    kept = torch.zeros(7, 7)
    for i in feature.present.nonzero().flatten().tolist():
        best = sim[i].topk(2).indices
        kept[i, best] = sim[i, best].clamp_min(0)
    d = kept.sum(1)
    scale = torch.where(d > 0, d.clamp_min(1e-12).rsqrt(), torch.zeros(()))
    got = graph.adjacency("similar_visual", norm=None).dense()
    torch.testing.assert_close(got, scale[:, None] * kept * scale[None], atol=1e-5, rtol=1e-5)


def test_binary_knn_with_loops_is_one_over_k_plus_one():
    graph = ModalityKNN("audio", k=1, weight="binary", loops=True)(twelve_nodes())
    dense = graph.adjacency("similar_audio", norm=None).dense()
    assert not dense[5].any()
    values = dense[dense > 0]
    assert ((values - 0.5).abs() < 1e-6).logical_or((values - 1.0).abs() < 1e-6).all()


def test_shares_mix_the_similar_edges_of_several_modalities():
    graph = twelve_nodes()
    plain = ModalityKNN("audio", k=2)(ModalityKNN("visual", k=2)(graph))
    mixed = ModalityKNN("audio", k=2, share=0.9)(ModalityKNN("visual", k=2, share=0.1)(graph))
    alone = [plain.adjacency(f"similar_{m}", norm=None).dense() for m in ("visual", "audio")]
    both = mixed.adjacency([("video", f"similar_{m}", "video") for m in ("visual", "audio")], norm=None).dense()
    torch.testing.assert_close(both, 0.1 * alone[0] + 0.9 * alone[1])


def test_scaled_features_have_centred_columns_and_unit_rows():
    graph = twelve_nodes()
    graph["visual"].x = graph["visual"].x * torch.tensor([1.0, 10, 100, 1, 0]) + 50
    before = graph["visual"].x.clone()
    scaled = ScaleFeatures()(graph)
    z = (before - before.mean(0)) / before.std(0, correction=0)
    z[:, 4] = 0  # constant: says nothing
    torch.testing.assert_close(scaled["visual"].x, z / z.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert not scaled.features("visual").values[2].any()  # has no picture: still none
    assert torch.equal(graph["visual"].x, before)


def test_time_decay_halves_in_a_half_life_and_keeps_the_newest():
    graph = twelve_nodes()
    day = 86_400.0
    start = 1_700_000_000.0
    graph["user", "interacts", "video"].time = (start + day * torch.tensor([0, 7, 14] + [14] * 7)).double()
    weight = TimeDecay(half_life=7)(graph)["user", "interacts", "video"].weight
    torch.testing.assert_close(weight[:4], torch.tensor([0.25, 0.5, 1.0, 1.0]))
    ancient = twelve_nodes()
    ancient["user", "interacts", "video"].time = torch.tensor([0.0] * 9 + [start]).double()
    assert torch.isfinite(TimeDecay(half_life=1 / 24)(ancient)["user", "interacts", "video"].weight).all()


def test_time_decay_multiplies_the_weight_an_edge_has():
    graph = twelve_nodes()
    store = graph["user", "interacts", "video"]
    store.time = 86_400.0 * torch.tensor([0.0] + [3.0] * 9, dtype=torch.float64)
    store.weight = torch.arange(1.0, 11.0)
    weight = TimeDecay(half_life=3)(graph)["user", "interacts", "video"].weight
    assert weight.tolist() == [0.5, *range(2, 11)]
    assert store.weight[0] == 1


def test_time_decay_says_what_is_missing():
    with pytest.raises(ValueError, match="no `time`"):
        TimeDecay(half_life=1)(twelve_nodes())
    with pytest.raises(ValueError, match="half_life must be"):
        TimeDecay(half_life=0)


def test_edge_drop_keeps_the_share_and_the_attributes():
    graph = twelve_nodes()
    graph["user", "interacts", "video"].time = torch.arange(10.0)
    thin = EdgeDrop(0.4)(graph, epoch_generator(0, 0))
    store = thin["user", "interacts", "video"]
    assert store.edge_index.shape == (2, 6)
    full = graph["user", "interacts", "video"].edge_index
    assert torch.equal(store.edge_index, full[:, store.time.long()])
    again = EdgeDrop(0.4)(graph, epoch_generator(0, 0))
    assert torch.equal(store.time, again["user", "interacts", "video"].time)
    other = EdgeDrop(0.4)(graph, epoch_generator(0, 1))
    assert not torch.equal(store.time, other["user", "interacts", "video"].time)


def test_degree_sensitive_drop_spares_the_edges_of_small_nodes():
    """Video 0 is a hub of 50 users; the other 50 users have a video each."""
    from tests.worlds import make_graph

    video = torch.cat([torch.zeros(50, dtype=torch.long), torch.arange(1, 51)])
    graph = make_graph(torch.arange(100), video, 100, 51, {})
    generator = torch.Generator().manual_seed(0)
    hub = torch.tensor([(EdgeDrop(0.5, True)(graph, generator).interactions()[1] == 0).sum().item() for _ in range(50)])
    assert hub.float().mean() < 15  # uniform would keep 25; chances 1 : sqrt(50)


def test_pairs_cover_the_graph_once_and_negatives_are_not_positives():
    graph = twelve_nodes()
    sampler = PairSampler(graph, 4, 3)
    batches = list(sampler.epoch(0, 0))
    assert len(batches) == len(sampler) == 3
    pairs = sorted((u, v) for b in batches for u, v in zip(b.user.tolist(), b.positive.tolist(), strict=True))
    assert pairs == sorted(zip(*(t.tolist() for t in graph.interactions()), strict=True))
    seen = set(pairs)
    assert all(
        (u, v) not in seen
        for b in batches
        for u, row in zip(b.user.tolist(), b.negative.tolist(), strict=True)
        for v in row
    )


def test_epochs_differ_and_repeat():
    sampler = PairSampler(twelve_nodes(), 10)
    (a,), (b,), (c,) = (list(sampler.epoch(*key)) for key in ((0, 0), (0, 1), (0, 0)))
    assert torch.equal(a.positive, c.positive)
    assert torch.equal(a.negative, c.negative)
    assert not torch.equal(a.positive, b.positive)


def test_negatives_are_uniform_over_what_the_user_has_not_seen():
    sampler = PairSampler(twelve_nodes(), 10, 2000)
    batch = next(iter(sampler.epoch(0, 0)))
    at = (batch.user == 1).nonzero()[0, 0]
    counts = torch.bincount(batch.negative[at], minlength=7).float() / 2000
    assert counts[[1, 3]].sum() == 0
    assert ((counts[[0, 2, 4, 5, 6]] - 0.2).abs() < 0.05).all()


def test_no_negatives_shared_ones_and_a_user_who_has_seen_everything():
    graph = twelve_nodes()
    (batch,) = PairSampler(graph, 10, 0).epoch(0, 0)
    assert batch.negative.shape == (10, 0)
    (batch,) = PairSampler(graph, 10, Draws(50, shared=True, power=1.0)).epoch(0, 0)
    assert batch.negative.shape == (50,)
    share = Draws(1, shared=True, power=1.0).share(graph)
    torch.testing.assert_close(share, torch.tensor([3.0, 3, 3, 2, 3, 2, 1]) / 17)
    torch.testing.assert_close(Draws(1, shared=True).share(graph), torch.full((7,), 1 / 7))
    full = graph.with_interactions(torch.full((7,), 4), torch.arange(7))
    (batch,) = PairSampler(full, 100).epoch(0, 0)
    assert 4 not in batch.user.tolist()
    assert len(batch.user) == 10
    (batch,) = PairSampler(full, 100, 0).epoch(0, 0)
    assert len(batch.user) == 17
    with pytest.raises(ValueError, match="0 or more"):
        Draws(-1)


def test_rows_are_whole_users():
    graph = twelve_nodes()
    sampler: Sampler = RowSampler(graph, 3)
    batches = list(sampler.epoch(0, 0))
    assert len(batches) == len(sampler)
    assert all(isinstance(b, RowBatch) for b in batches)
    users = torch.cat([b.user for b in batches])
    assert sorted(users.tolist()) == [0, 1, 2, 3]
    assert torch.equal(torch.cat([b.row for b in batches]), graph.seen.dense()[users])


def test_a_pair_that_comes_twice_is_one_in_a_row():
    graph = twelve_nodes()
    user, video = graph.interactions()
    again = graph.with_interactions(user[:4], video[:4])
    (batch,) = RowSampler(again, 9).epoch(0, 0)
    assert again.seen.dense().max() == 2
    assert torch.equal(batch.row, graph.seen.dense()[batch.user])


def test_a_pyg_hetero_conv_runs_on_it_unchanged():
    from torch_geometric.nn import HeteroConv, SAGEConv

    graph = twelve_nodes()
    conv = HeteroConv({t: SAGEConv((-1, -1), 4) for t in graph.edge_types})
    x = {
        "user": torch.randn(5, 6),
        "video": torch.randn(7, 6),
        "visual": graph["visual"].x,
        "audio": graph["audio"].x,
    }
    out = conv(x, graph.edge_index_dict)
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "user": (5, 4),
        "video": (7, 4),
        "visual": (6, 4),
        "audio": (6, 4),
    }


def test_pyg_to_hetero_runs_on_it_unchanged():
    from torch_geometric.nn import SAGEConv, to_hetero

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SAGEConv((-1, -1), 4)

        def forward(self, x, edge_index):
            return self.conv(x, edge_index).relu()

    graph = twelve_nodes()
    net = to_hetero(Net(), graph.metadata())
    x = {
        "user": torch.randn(5, 6),
        "video": torch.randn(7, 6),
        "visual": graph["visual"].x,
        "audio": graph["audio"].x,
    }
    assert net(x, graph.edge_index_dict)["video"].shape == (7, 4)
