"""Histories: order, no look-ahead, batches."""

from __future__ import annotations

import copy

import pytest
import torch

from mmgraph.graph import Histories, HistoryBatch, HistorySampler
from mmgraph.graph.events import OrderedEvents, histories, order_events
from tests.worlds import make_graph, twelve_nodes


def timed(users: int = 6, videos: int = 9, edges: int = 60, seed: int = 0):
    """Random events with equal times among them; user 5 has none."""
    generator = torch.Generator().manual_seed(seed)
    user = torch.randint(users - 1, (edges,), generator=generator)
    video = torch.randint(videos, (edges,), generator=generator)
    graph = make_graph(user, video, users, videos, {})
    graph["user", "interacts", "video"].time = torch.randint(30, (edges,), generator=generator).double() + 1.7e9
    return graph


def by_hand(graph, before, max_len):
    """The same with loops: a list of (video, time) a user."""
    user, video = graph.interactions()
    time = graph["user", "interacts", "video"].time
    limit = torch.as_tensor(torch.inf if before is None else before, dtype=torch.float64).expand(graph.num_users)
    out = []
    for u in range(graph.num_users):
        mine = [(float(time[e]), e) for e in range(len(user)) if user[e] == u and time[e] < limit[u]]
        out.append([(int(video[e]), t) for t, e in sorted(mine)][-max_len:])
    return out


PER_USER = torch.tensor([1.7e9 + 5, 1.7e9 + 30, 1.7e9, 1.7e9 + 12, 1.7e9 + 1e9, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("max_len", [1, 4, 50])
@pytest.mark.parametrize("before", [None, 1.7e9 + 13, PER_USER], ids=["all", "one time", "a time a user"])
def test_histories_equal_a_loop_over_users(before, max_len):
    graph = timed()
    past = graph.histories(before=before, max_len=max_len)
    assert isinstance(past, Histories)
    expected = by_hand(graph, before, max_len)
    assert past.length.tolist() == [len(e) for e in expected]
    assert past.video.shape[1] == max(len(e) for e in expected)
    for u, events in enumerate(expected):
        n = len(events)
        assert list(zip(past.video[u, :n].tolist(), past.time[u, :n].tolist(), strict=True)) == events
        assert past.mask[u].tolist() == [True] * n + [False] * (past.mask.shape[1] - n)
        assert (past.video[u, n:] == -1).all()


def test_some_users_are_rows_of_all():
    graph = timed()
    rows = torch.tensor([3, 5, 0, 3])
    whole, part = graph.histories(max_len=7), histories(graph, max_len=7, users=rows)
    for a, b in zip(whole, part, strict=True):
        assert torch.equal(a[rows], b)


def test_events_at_or_after_before_never_appear():
    """Shuffling, replacing and re-timing what lies at or after `before` changes nothing."""
    graph = timed(edges=200)
    limit = 1.7e9 + 15
    store = graph["user", "interacts", "video"]
    later = store.time >= limit
    assert 20 < int(later.sum()) < 180
    other = copy.copy(graph)
    generator = torch.Generator().manual_seed(7)
    edges, time = store.edge_index.clone(), store.time.clone()
    count = int(later.sum())
    edges[0, later] = torch.randint(6, (count,), generator=generator)
    edges[1, later] = torch.randint(9, (count,), generator=generator)
    time[later] = limit + torch.randint(100, (count,), generator=generator).double()
    other["user", "interacts", "video"].edge_index, other["user", "interacts", "video"].time = edges, time
    for a, b in zip(graph.histories(before=limit), other.histories(before=limit), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(graph.histories().video, other.histories().video)


def test_without_times_edge_order_is_the_order():
    past = twelve_nodes().histories()
    assert past.video.tolist() == [[0, 1, 2], [1, 3, -1], [2, 4, -1], [0, 4, 5], [-1, -1, -1]]
    assert past.time[0].tolist() == [0, 1, 2]
    assert past.length.tolist() == [3, 2, 2, 3, 0]


def test_what_is_refused():
    graph = timed()
    with pytest.raises(ValueError, match="no `time`"):
        twelve_nodes().histories(before=3.0)
    with pytest.raises(ValueError, match="one a user"):
        graph.histories(before=torch.zeros(4))
    with pytest.raises(ValueError, match="max_len"):
        graph.histories(max_len=0)
    with pytest.raises(ValueError, match="batch_size"):
        HistorySampler(graph, 0)


def test_a_graph_without_events_has_empty_histories():
    none = torch.zeros(0, dtype=torch.int64)
    graph = make_graph(none, none, 3, 2, {})
    assert graph.histories().video.shape == (3, 0)
    assert len(HistorySampler(graph, 4)) == 0
    assert list(HistorySampler(graph, 4).epoch(0, 0)) == []


def test_order_events_is_stable():
    user, video = torch.tensor([1, 0, 1, 0, 1]), torch.tensor([4, 3, 2, 1, 0])
    events = order_events(user, video, torch.tensor([5.0, 1.0, 5.0, 1.0, 2.0]), 3)
    assert isinstance(events, OrderedEvents)
    assert events.indptr.tolist() == [0, 2, 5, 5]
    assert events.video.tolist() == [3, 1, 0, 4, 2]


def test_ordered_events_are_cached_and_follow_the_graph():
    graph = timed()
    assert graph.ordered_events() is graph.ordered_events()
    more = graph.with_interactions(torch.tensor([5]), torch.tensor([8]), torch.tensor([0.0]))
    assert more.histories().length[5] == 1


@pytest.mark.parametrize("prefixes", [False, True])
@pytest.mark.parametrize("max_len", [3, 50])
def test_an_epoch_holds_each_target_once_with_its_own_past(prefixes, max_len):
    """Every event but a user's first is a target (of those in the window), and its steps are the events before it."""
    graph = timed(edges=120)
    sampler = HistorySampler(graph, 16, max_len, prefixes=prefixes)
    lists = by_hand(graph, None, 10_000)
    found = []
    for batch in sampler.epoch(0, 0):
        assert isinstance(batch, HistoryBatch)
        for u, video, mask, target in zip(batch.user, batch.video, batch.mask, batch.target, strict=True):
            n = int(mask.sum())
            assert n <= max_len
            for t in (target >= 0).nonzero().flatten().tolist():
                seen = video[: t + 1].tolist()
                mine = [v for v, _ in lists[int(u)]]
                places = [p for p in range(1, len(mine)) if mine[max(0, p - len(seen)) : p] == seen]
                assert any(mine[p] == int(target[t]) for p in places)
                found.append((int(u), int(target[t])))
            if prefixes:
                assert (target >= 0).nonzero().flatten().tolist() == [n - 1]
    window = 10_000 if prefixes else max_len
    expected = [(u, v) for u, mine in enumerate(lists) for v, _ in mine[1:][-window:]]
    assert sorted(found) == sorted(expected)


def test_batches_depend_on_seed_and_epoch_alone():
    sampler = HistorySampler(timed(edges=300), 32)
    first, again, next_epoch = (list(sampler.epoch(1, e)) for e in (0, 0, 1))
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    assert [b.user.tolist() for b in first] != [b.user.tolist() for b in next_epoch]
    assert len(first) <= len(sampler)


def test_batches_are_of_similar_length():
    """Little is padding, though lists run from 2 to 60 events."""
    sizes = torch.arange(2, 61).repeat(8)
    user = torch.arange(len(sizes)).repeat_interleave(sizes)
    graph = make_graph(user, user % 7, len(sizes), 7, {})
    batches = list(HistorySampler(graph, 512).epoch(0, 0))
    real = sum(int(b.mask.sum()) for b in batches)
    assert real / sum(b.mask.numel() for b in batches) > 0.75
    assert max(int((b.target >= 0).sum()) for b in batches) <= 512 + 50
