"""One constraint, asked by everything that gives a video away: it fails closed, and what is blocked never leaves."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.graph import MultimodalGraph
from mmgraph.models import BPRMF
from mmgraph.ops import CSR, best_of
from mmgraph.recommend import (
    Blocked,
    Constraint,
    Prerequisites,
    Quota,
    Released,
    audience,
    explain,
    recommend,
    similar,
)
from tests.worlds import twelve_nodes


def csr(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> CSR:
    rows = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return CSR.from_edges(rows[:, 0], rows[:, 1], shape)


def flags(size: int, *rows: int) -> torch.Tensor:
    out = torch.zeros(size, dtype=torch.bool)
    out[list(rows)] = True
    return out


def test_a_constraint_answers_for_users_pairs_scores_and_lists_alike():
    limits = Constraint(4, flags(4, 0, 1, 2), Blocked(frozenset({1})), csr([(0, 0)], (2, 4)))
    users = torch.tensor([1, 0])
    assert limits.mask(users).tolist() == [[True, False, True, False], [False, False, True, False]]
    assert limits.permits(1, torch.tensor([0, 1, 3, 2])).tolist() == [True, False, False, True]
    hidden = limits.hide(torch.ones(2, 4), users)
    assert (hidden > 0).tolist() == limits.mask(users).tolist()
    assert limits.columns.tolist() == [True, False, True, False]
    kept = limits.keep(users, torch.tensor([[3, 0, 1, 2], [0, 2, -1, -1]]))
    assert kept.tolist() == [[0, 2, -1, -1], [2, -1, -1, -1]]
    assert not limits.per_user


def test_it_fails_closed():
    limits = Constraint(2, seen=csr([(0, 0)], (1, 2)))
    wide = limits.hide(torch.ones(1, 4), torch.tensor([0]))
    assert (wide > 0).tolist() == [[False, True, False, False]]  # rows 2 and 3 are unknown to it
    assert limits.permits(0, torch.tensor([1, 2, -1])).tolist() == [True, False, False]
    assert limits.keep(torch.tensor([0]), torch.tensor([[7, 1]])).tolist() == [[1, -1]]
    assert limits.over(4).columns.tolist() == [True, True, False, False]
    with pytest.raises(ValueError, match="what they have seen is not known"):
        limits.mask(torch.tensor([1]))
    unread = Constraint(2, blocked=Blocked(None))
    assert not unread.columns.any()
    assert not unread.block([0]).unblock([0]).columns.any()
    with pytest.raises(TypeError, match="allowed must be"):
        Constraint(2, torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="over 2 videos"):
        limits.with_seen(csr([], (1, 3)))
    with pytest.raises(ValueError, match="over 2 videos, but there are 1"):
        limits.over(1)
    with pytest.raises(ValueError, match="row -1"):
        Constraint(2, blocked=Blocked(frozenset({-1})))

    class Broken:
        def permits(self, users, num_videos):
            return torch.ones(len(users), num_videos)

        def digest(self):
            return ""

    with pytest.raises(TypeError, match=r"Broken\.permits gave torch.float32"):
        Constraint(2, rules=(Broken(),)).mask(torch.tensor([0]))


def test_it_is_a_value_with_a_version_and_a_digest():
    first = Constraint(3)
    second = first.block([1])
    assert (first.blocked.version, second.blocked.version) == (0, 1)
    assert first.columns.all()
    assert second.unblock([1]).columns.all()
    assert first.digest() == Constraint(3).digest() != second.digest()
    assert second.digest() != replace(second, quotas=(Quota(flags(3, 0), at_most=1),)).digest()
    with pytest.raises(FrozenInstanceError):
        first.allowed = None
    first.columns[0] = False
    assert first.columns.all()
    assert "2 of them open, blocked version 1" in repr(second)


def test_prerequisites_open_what_a_user_is_ready_for():
    # video 0 needs nothing, 1 needs concept 0, 2 needs both
    rule = Prerequisites(csr([(1, 0), (2, 0), (2, 1)], (3, 2)), csr([(0, 0), (1, 0), (1, 1)], (2, 2)))
    asked = rule.permits(torch.tensor([0, 1, 9]), 4)
    assert asked.tolist() == [[True, True, False, False], [True, True, True, False], [True, False, False, False]]
    with pytest.raises(ValueError, match="concepts must agree"):
        Prerequisites(csr([], (3, 2)), csr([], (2, 3)))


def test_prerequisites_read_from_the_edges_of_a_graph():
    graph = MultimodalGraph()
    graph["user"].num_nodes, graph["video"].num_nodes, graph["concept"].num_nodes = 2, 3, 2
    graph["user", "interacts", "video"].edge_index = torch.tensor([[0], [0]])
    teaches, requires = ("video", "belongs_to", "concept"), ("concept", "requires", "concept")
    graph[teaches].edge_index = torch.tensor([[0, 1, 2, 2], [0, 1, 0, 1]])
    graph[requires].edge_index = torch.tensor([[1], [0]])  # concept 1 requires concept 0
    rule = Prerequisites.from_graph(graph, teaches, requires)
    # user 0 saw video 0, so has concept 0 and may get video 1; video 2 teaches both, so it needs nothing
    assert rule.permits(torch.tensor([0, 1]), 3).tolist() == [[True, True, True], [True, False, True]]


def test_videos_are_open_from_their_release():
    rule = Released(torch.tensor([1.0, 5.0, torch.nan], dtype=torch.float64), now=torch.tensor([0.0, 5.0]))
    assert rule.permits(torch.tensor([1, 0, 2]), 4).tolist() == [[True, True, False, False], [False] * 4, [False] * 4]
    assert Released(rule.time, 2.0).permits(torch.tensor([7]), 3).tolist() == [[True, False, False]]
    assert rule.digest() != Released(rule.time, 2.0).digest()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_quotas_give_the_best_list_that_meets_them(data):
    videos, k = data.draw(st.integers(2, 8)), data.draw(st.integers(1, 5))
    scores = torch.tensor([data.draw(st.lists(st.integers(0, 4), min_size=videos, max_size=videos))]).float()
    group = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=videos, max_size=videos)))
    low = [data.draw(st.integers(0, 2)) for _ in range(2)]
    high = [low[i] + data.draw(st.integers(0, 2)) for i in range(2)]
    limits = Constraint(videos, quotas=tuple(Quota(group == i, low[i], high[i], f"group {i}") for i in range(2)))

    def best(columns, n):
        return best_of(scores if columns is None else scores.masked_fill(~columns, -torch.inf), n)

    if sum(low) > k:
        with pytest.raises(ValueError, match=f"a list of {k} cannot hold"):
            limits.fill(k, best)
        return
    found = limits.fill(k, best)
    rows = [v for v in found.video[0].tolist() if v >= 0]
    needed = [min(low[i], int((group == i).sum())) for i in range(2)]

    def meets(some):
        counts = [sum(int(group[v]) == i for v in some) for i in range(2)]
        return all(needed[i] <= counts[i] <= high[i] for i in range(2))

    assert meets(rows)
    assert len(set(rows)) == len(rows)
    assert found.score[0, : len(rows)].tolist() == sorted((float(scores[0, v]) for v in rows), reverse=True)
    length = len(rows)
    possible = [some for n in range(k + 1) for some in combinations(range(videos), n) if meets(some)]
    assert length == max(map(len, possible))
    assert sum(scores[0, rows].tolist()) == max(sum(scores[0, list(s)].tolist()) for s in possible if len(s) == length)


def test_quotas_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        Constraint(3, quotas=(Quota(flags(3, 0)), Quota(flags(3, 0, 1))))
    with pytest.raises(ValueError, match="at_least <= at_most"):
        Quota(flags(3, 0), at_least=2, at_most=1)
    with pytest.raises(TypeError, match="bool"):
        Quota(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="quota is over 2 videos"):
        Constraint(3, quotas=(Quota(flags(2, 0)),))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_blocked_video_never_leaves(data):
    graph = twelve_nodes()
    rows = st.integers(0, graph.num_videos - 1)
    limits = Constraint(graph.num_videos)
    for act, row in data.draw(st.lists(st.tuples(st.sampled_from(["block", "unblock"]), rows), max_size=12)):
        limits = limits.block([row]) if act == "block" else limits.unblock([row])
    blocked = limits.blocked.rows
    torch.manual_seed(data.draw(st.integers(0, 5)))
    model = BPRMF(graph, embedding_dim=3)
    k, everyone = data.draw(st.integers(1, 9)), list(range(graph.num_users))
    given_up = {
        "recommend": recommend(
            model, graph, everyone, k, constraint=limits, exclude_seen=data.draw(st.booleans())
        ).video,
        "similar": similar(model, graph, list(range(graph.num_videos)), k, constraint=limits).video,
        "alike": similar(None, graph, list(range(graph.num_videos)), k, modality="visual", constraint=limits).video,
    }
    for name, lists in given_up.items():
        assert not blocked & set(lists.flatten().tolist()), name
    shown = audience(model, graph, list(range(graph.num_videos)), k, constraint=limits, exclude_seen=False).user
    for row in blocked:
        assert (shown[row] == -1).all()
    for user in everyone:
        for video in range(graph.num_videos):
            if video in blocked:
                with pytest.raises(ValueError, match="may not be shown"):
                    explain(graph, user, video, constraint=limits)
            else:
                assert not blocked & {r.video for r in explain(graph, user, video, constraint=limits).reasons}
