"""Given candidates: request lists, a list a user, samples; and videos that are had again."""

from __future__ import annotations

import math
from fractions import Fraction

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data import Dataset, leave_last_one_out, published_split
from mmgraph.data.errors import DataError
from mmgraph.evaluate import EvalConfig, Requests, SampledCandidates, evaluate, evaluate_test
from mmgraph.graph import build_graph
from mmgraph.models import BPRMF, Popularity
from mmgraph.recommend import Constraint
from tests.evaluate.toys import csr, toy

SHOWN = [  # request, person, video, clicked
    *((1, "p1", "n3", 1), (1, "p1", "n5", 0), (1, "p1", "n6", 0), (1, "p1", "n1", 0)),
    *((2, "p2", "n3", 0), (2, "p2", "n4", 1), (2, "p2", "n6", 0)),
    *((3, "p3", "n2", 1), (3, "p3", "n5", 1), (3, "p3", "n4", 0)),
    *((4, "p1", "n5", 0), (4, "p1", "n3", 0), (4, "p1", "n6", 1)),
]
LOG = ["p1 n1", "p2 n1", "p3 n1", "p1 n2", "p2 n2", "p3 n3", "p1 n4", "p2 n5", "p3 n6", "p4 n1", "p4 n2", "p4 n3"]


def impressions():
    """A log of what four requests showed, and the popularity model of the clicks before: n1 4, n2 3, n3 2, others 1."""
    shown = pl.DataFrame(SHOWN, schema=["impression_id", "user_id", "video_id", "click"], orient="row")
    rows = [(*pair.split(), 0) for pair in LOG] + [(p, v, 2) for _, p, v, clicked in SHOWN if clicked]
    log = pl.DataFrame(rows, schema=["user_id", "video_id", "part"], orient="row")
    split = published_split(Dataset.from_frames(log, name="shown"), "part", valid_ratio=0.1, seen_at_test="train+valid")
    graph = build_graph(split, "test")
    model = Popularity(graph)
    model.solve(graph)
    return model, graph, split, shown


def test_request_lists_rank_what_was_shown_and_nothing_else():
    model, graph, split, shown = impressions()
    requests = Requests.from_frame(shown, split.dataset)
    found = evaluate(model, graph, None, EvalConfig(k=(5,)), candidates=requests)
    assert round(found["all"]["user_auc"], 4) == 0.4792
    assert round(found["all"]["mrr@5"], 4) == 0.5833
    assert round(found["all"]["ndcg@5"], 4) == 0.6704
    assert found.counts["all"] == {"users": 3, "targets": 5, "candidates": 13, "requests": 4, "dropped": 0}
    assert found.frame().filter(pl.col("group") == "all").select("user", "request").rows() == [
        *((0, 0), (0, 3), (1, 1), (2, 2))  # two requests of one person are two lists
    ]
    n = {name: row for row, name in enumerate(split.dataset.video_ids.ids)}
    # n1 was seen by p1, and is first in their first list all the same
    assert found.lists["all"][0, :4].tolist() == [n["n1"], n["n3"], n["n5"], n["n6"]]
    assert found.trivial["all"] == ()  # the order within five places is a result though no list is longer


def test_pooled_auc_of_request_lists_by_hand():
    model, graph, targets = toy([[3, 1, 2, 0], [5, 4, 2, 2]], [], [(0, 0), (1, 3)])
    lists = pl.DataFrame({"request": [0, 0, 1, 1], "user": [0, 0, 1, 1], "video": [0, 1, 1, 3]})
    found = evaluate(model, graph, targets, EvalConfig(k=(1,), groups=("all",)), candidates=lists)
    # positives 3 and 2 against negatives 1 and 4: 3 > 1, 3 < 4, 2 > 1, 2 < 4
    assert found["all"]["auc"] == 2 / 4
    assert found["all"]["user_auc"] == (1 + 0) / 2


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_request_lists_equal_the_oracle(data):
    users, videos, k = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 7)), data.draw(st.integers(1, 5))
    values = st.sampled_from([-1.0, 0.0, 1.0, 2.0])  # few values: ties everywhere
    scores = data.draw(st.lists(st.lists(values, min_size=videos, max_size=videos), min_size=users, max_size=users))
    row = st.tuples(st.integers(0, 4), st.integers(0, videos - 1), st.booleans())
    shown = data.draw(st.lists(row, min_size=1, max_size=20, unique_by=lambda r: r[:2]))
    asked = [data.draw(st.integers(0, users - 1)) for _ in range(5)]
    lists = {r: [(v, c) for q, v, c in shown if q == r] for r in sorted({q for q, _, _ in shown})}
    lists = {r: some for r, some in lists.items() if any(c for _, c in some)}
    frame = pl.DataFrame(
        [(r, asked[r], v, int(c)) for r, v, c in shown], schema=["request", "user", "video", "clicked"], orient="row"
    )
    model, graph, _ = toy(scores, [], [])
    block = data.draw(st.integers(1, 4))
    if not lists:
        with pytest.raises(ValueError, match="none of the lists"):
            evaluate(model, graph, None, EvalConfig(block_size=block), candidates=frame)
        return
    found = evaluate(model, graph, None, EvalConfig(k=(k,), groups=("all",), block_size=block), candidates=frame)
    order = sorted(lists, key=lambda r: (asked[r], r))
    every = []
    for place, request in enumerate(order):
        mine = scores[asked[request]]
        ranked = sorted(lists[request], key=lambda entry: (-mine[entry[0]], entry[0]))
        hit, wanted = [c for _, c in ranked[:k]], sum(c for _, c in ranked)
        assert [v for v in found.lists["all"][place].tolist() if v >= 0] == [v for v, _ in ranked[:k]]
        values = {name: float(value[place]) for name, value in found.per_user["all"].items()}
        assert values[f"recall@{k}"] == pytest.approx(sum(hit) / wanted)
        assert values[f"mrr@{k}"] == pytest.approx(next((1 / (i + 1) for i, h in enumerate(hit) if h), 0))
        assert values["user_auc"] == pytest.approx(area([(mine[v], c) for v, c in ranked]), nan_ok=True)
        every += [(mine[v], c) for v, c in ranked]
    assert found["all"]["auc"] == pytest.approx(area(every), nan_ok=True)
    assert found.users["all"].tolist() == [asked[r] for r in order]


def area(scored: list[tuple[float, bool]]) -> float:
    positive, negative = ([s for s, c in scored if c is kind] for kind in (True, False))
    wins = [(p > n) + Fraction(p == n, 2) for p in positive for n in negative]
    return float(sum(wins) / len(wins)) if wins else math.nan


def test_labels_count_only_where_the_pair_is_among_the_targets():
    model, graph, split, shown = impressions()
    requests = Requests.from_frame(shown, split.dataset)
    p2 = pl.DataFrame({"user": [1, 1], "video": [3, 0]})  # n4, which was clicked, and n1, which was not listed
    found = evaluate(model, graph, p2, EvalConfig(k=(5,)), candidates=requests)
    assert found.counts["all"] == {"users": 1, "targets": 1, "candidates": 3, "requests": 1, "dropped": 1}
    again = evaluate_test(model, graph, split, "lists", EvalConfig(k=(5,)), candidates=requests)
    assert round(again["all"]["ndcg@5"], 4) == 0.6704
    assert again.opening is not None
    assert again.opening.protocol_id != split.protocol_id  # other candidates are another protocol


def test_candidates_of_a_user_and_a_constraint_on_them():
    model, graph, targets = toy([[5, 4, 3, 2, 1]] * 2, [(0, 0)], [(0, 2), (1, 4), (1, 3)])
    mine = csr([(0, 0), (0, 2), (0, 4), (0, 4), (1, 1), (1, 4)], (2, 5))
    found = evaluate(model, graph, targets, EvalConfig(k=(1, 2), groups=("all",)), candidates=mine)
    assert found.lists["all"].tolist() == [[0, 2], [1, 4]]  # as given: what user 0 has seen is ranked too
    assert found["all"]["recall@1"] == 0
    assert found["all"]["recall@2"] == 1
    assert found.counts["all"]["dropped"] == 1  # (1, 3) is among nobody's candidates
    limits = Constraint(5).block([0])
    found = evaluate(model, graph, targets, EvalConfig(k=(1,), groups=("all",)), candidates=mine, constraint=limits)
    assert found.lists["all"].tolist() == [[2], [1]]


def test_request_groups_rank_known_and_new_videos_among_themselves():
    model, graph, targets = toy([[1, 2, 3, 4]], [(0, 0), (0, 1)], [(0, 1), (0, 2)])
    found = evaluate(model, graph, targets, EvalConfig(k=(1,)), candidates=csr([(0, v) for v in range(4)], (1, 4)))
    assert found["warm"]["recall@1"] == 1  # 1 before 0
    assert found["cold"]["recall@1"] == 0  # 3 before 2
    assert found["all"]["new_share@1"] == 1


def test_sampled_candidates_are_targets_and_unseen_videos_drawn_by_seed():
    torch.manual_seed(0)
    seen = [(u, (u * 7 + i) % 60) for u in range(5) for i in range(10)]
    targets = [(u, (u * 7 + 30) % 60) for u in range(5)]
    model, graph, frame = toy(torch.rand(5, 60).tolist(), seen, targets)

    def listed(seed: int) -> list[set[int]]:
        config = EvalConfig(k=(10,), groups=("all",), candidates=SampledCandidates(negatives=9, seed=seed))
        found = evaluate(model, graph, frame, config)
        assert found.rankings["all"].num_candidates.tolist() == [10] * 5
        return [set(row.tolist()) for row in found.lists["all"]]

    first = listed(1)
    assert first == listed(1)
    assert first != listed(2)
    for user, row in enumerate(first):
        assert targets[user][1] in row
        assert not row & {v for u, v in seen if u == user}
    few = EvalConfig(k=(5,), candidates=SampledCandidates(negatives=99))
    assert evaluate(model, graph, frame, few).rankings["all"].num_candidates.tolist() == [50] * 5
    assert few.protocol_parameters(impressions()[2]) == {"candidates": {"sampled": 99, "seed": 0}}
    with pytest.raises(ValueError, match="negatives"):
        SampledCandidates(negatives=0)


def test_scores_of_long_lists_and_of_short_ones_are_the_same():
    watched = [(u, (u * 5 + i) % 40, i) for u in range(9) for i in range(6)]
    log = pl.DataFrame(watched, schema=["user_id", "video_id", "timestamp"], orient="row")
    graph = build_graph(leave_last_one_out(Dataset.from_frames(log)))
    torch.manual_seed(0)
    model = BPRMF(graph, embedding_dim=4)
    targets = pl.DataFrame({"user": [0, 3, 5], "video": [1, 20, 31]})
    users, videos = range(graph.num_users), range(graph.num_videos)
    every = csr([(u, v) for u in users for v in videos], (graph.num_users, graph.num_videos))
    config = EvalConfig(k=(3,), groups=("all",), exclude_seen=False)
    whole, lists = evaluate(model, graph, targets, config), evaluate(model, graph, targets, config, candidates=every)
    assert lists["all"] == pytest.approx(whole["all"], nan_ok=True)
    some = csr([(u, v) for u in users for v in (1, 7, 20, 22, 31)], (graph.num_users, graph.num_videos))
    short = evaluate(model, graph, targets, EvalConfig(k=(3,), block_size=2), candidates=some)
    scores = model.score(model.encode(graph), torch.arange(graph.num_users)).detach()
    for user, row in zip(short.users["all"].tolist(), short.lists["all"].tolist(), strict=True):
        assert row == sorted((1, 7, 20, 22, 31), key=lambda v: -float(scores[user, v]))[:3]


def test_what_is_had_again_is_judged_where_the_protocol_keeps_repeats():
    plays = {"ann": "rain rain wind rain rain", "bob": "rain snow snow snow snow", "cyd": "wind rain rain wind rain"}
    rows = [(who, song, 1.7e9 + 100 * i) for who, songs in plays.items() for i, song in enumerate(songs.split())]
    log = pl.DataFrame(rows, schema=["user_id", "video_id", "timestamp"], orient="row")
    split = leave_last_one_out(Dataset.from_frames(log, duplicates="keep"), repeats="keep")
    graph = build_graph(split, "test")
    model = Popularity(graph)
    model.solve(graph)
    found = evaluate_test(model, graph, split, "again", EvalConfig(k=(1, 2)))
    assert found["all"]["recall@1"] == pytest.approx(2 / 3)
    assert found["all"]["recall@2"] == 1
    assert found["all"]["users"] == 3
    assert found.opening is not None
    assert found.opening.protocol_id == split.protocol_id  # the split says so itself
    with pytest.raises(ValueError, match="exclude_seen=False"):
        evaluate(model, graph, split.valid, EvalConfig(k=(1,)))
    assert evaluate(model, graph, split.valid, EvalConfig(k=(1,), exclude_seen=False))["all"]["users"] == 3


def test_request_tables_that_cannot_be_read_say_where():
    shown = pl.DataFrame(SHOWN, schema=["impression_id", "user_id", "video_id", "click"], orient="row")
    dataset = impressions()[2].dataset
    with pytest.raises(DataError, match=r"no column 'request'.*say which column is the request"):
        Requests.from_frame(shown.drop("impression_id"), dataset)
    with pytest.raises(DataError, match="labels are 0 or 1"):
        Requests.from_frame(shown.with_columns(click=pl.lit(2)), dataset)
    with pytest.raises(DataError, match="request 1 is of several users"):
        Requests.from_frame(shown.with_columns(user_id=pl.Series(["p2", *shown["user_id"][1:]])), dataset)
    with pytest.raises(DataError, match="give dataset="):
        Requests.from_frame(shown)
    with pytest.raises(KeyError, match="n9"):
        Requests.from_frame(shown.with_columns(video_id=pl.lit("n9")), dataset)
    twice = Requests.from_frame(pl.concat([shown, shown.with_columns(click=pl.lit(1, pl.Int64))]), dataset)
    assert len(twice.video) == 13
    assert bool(twice.clicked.all())  # clicked if either row was
    model, graph, targets = toy([[1, 2]], [], [(0, 1)])
    with pytest.raises(ValueError, match="give one of them"):
        evaluate(model, graph, None, candidates=csr([(0, 0)], (1, 2)))
    with pytest.raises(ValueError, match="none of the lists"):
        evaluate(model, graph, targets, candidates=csr([(0, 0)], (1, 2)))
    assert math.isnan(
        evaluate(model, graph, targets, EvalConfig(k=(1,)), candidates=csr([(0, 1)], (1, 2)))["all"]["auc"]
    )
