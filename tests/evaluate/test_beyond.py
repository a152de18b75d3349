"""Beyond accuracy: closed forms worked out by hand, and lists that somebody else made."""

from __future__ import annotations

import math

import polars as pl
import pytest
import torch

from mmgraph.evaluate import (
    Calibration,
    EvalConfig,
    ExposureShare,
    Novelty,
    OfEntity,
    evaluate,
    evaluate_lists,
    new_videos,
    tail_videos,
)
from mmgraph.graph import MultimodalGraph
from tests.evaluate.toys import Table, toy

D2, D3 = 1 / math.log2(3), 1 / math.log2(4)  # discounts of places 2 and 3; the first is 1


def with_entities() -> MultimodalGraph:
    """2 users, 4 videos; user 0 saw 0 and 1. Genres: 0 and 2 are drama, 1 is drama and news, 3 has none."""
    graph = MultimodalGraph()
    graph["user"].num_nodes, graph["video"].num_nodes, graph["genre"].num_nodes = 2, 4, 2
    graph["user", "interacts", "video"].edge_index = torch.tensor([[0, 0], [0, 1]])
    graph["video", "belongs_to", "genre"].edge_index = torch.tensor([[0, 1, 1, 2], [0, 0, 1, 0]])
    return graph


def pairs(*rows: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"user": pl.Int64, "video": pl.Int64}, orient="row")


def test_exposure_of_groups_is_discounted_by_place():
    # lists of 3: user 0 (saw 0): 1 2 3; user 1: 0 1 2
    model, graph, targets = toy([[4, 3, 2, 1]] * 2, [(0, 0)], [(0, 1), (1, 0)])
    odd = torch.tensor([False, True, False, True])
    metrics = (ExposureShare("odd", odd), ExposureShare("new", new_videos))
    config = EvalConfig(k=(2, 3), groups=("all",), metrics=metrics)
    found = evaluate(model, graph, targets, config)
    assert found.per_user["all"]["exposure_odd@3"].tolist() == pytest.approx(
        [(1 + D3) / (1 + D2 + D3), D2 / (1 + D2 + D3)]
    )
    assert found["all"]["exposure_odd@2"] == pytest.approx((1 + D2) / (1 + D2) / 2)
    assert found.per_user["all"]["exposure_new@3"].tolist() == pytest.approx([1, (D2 + D3) / (1 + D2 + D3)])
    with pytest.raises(ValueError, match=r"\[4\] bool, got torch.int64"):
        evaluate(model, graph, targets, EvalConfig(metrics=(ExposureShare("odd", torch.tensor([0, 1, 0, 1])),)))


def test_the_tail_is_all_but_the_most_popular_fifth():
    seen = [(u, v) for v, count in enumerate([0, 3, 1, 1, 2, 2, 0, 0, 0, 4]) for u in range(count)]
    model, graph, targets = toy([[1.0] * 10] * 5, seen, [(4, 0)])
    found = evaluate(model, graph, targets, EvalConfig(k=(2,)))
    assert (~tail_videos(found.rankings["all"])).nonzero().flatten().tolist() == [1, 9]


def test_novelty_is_self_information():
    model, graph, targets = toy([[3, 2, 1]], [(0, 0)], [(0, 1)])  # counts + 1: 2 1 1
    found = evaluate(model, graph, targets, EvalConfig(k=(1, 2), metrics=(Novelty(),)))
    assert found["all"]["novelty@1"] == 2  # −log2(1 / 4)
    again = evaluate(model, graph, targets, EvalConfig(k=(2,), metrics=(Novelty(),), exclude_seen=False))
    assert again["all"]["novelty@2"] == (1 + 2) / 2


def test_calibration_compares_the_list_with_the_history():
    graph = with_entities()
    model = Table(torch.tensor([[0.0, 0, 2, 1], [0, 0, 2, 1]]))
    config = EvalConfig(
        k=(1, 2), groups=("all",), metrics=(Calibration("genre"), Calibration(torch.eye(4), name="by_id"))
    )
    found = evaluate(model, graph, pairs((0, 2), (1, 3)), config)
    # user 0's history: drama (1 + ½) / 2 = ¾, news ¼; the list is drama alone
    want = 0.75 * math.log(0.75 / (0.99 + 0.01 * 0.75)) + 0.25 * math.log(0.25 / (0.01 * 0.25))
    values = found.per_user["all"]["calibration_kl@1"].tolist()
    assert values[0] == pytest.approx(want)
    assert math.isnan(values[1])  # no history
    assert found.per_user["all"]["calibration_kl@2"][0] == pytest.approx(want)  # video 3 has no genre
    same = evaluate(model, graph, pairs((0, 2)), EvalConfig(k=(4,), metrics=(Calibration(torch.ones(4, 1)),)))
    assert same["all"]["calibration_kl@4"] == 0
    with pytest.raises(KeyError, match="no entity type 'origin'"):
        evaluate(model, graph, pairs((0, 2)), EvalConfig(metrics=(Calibration("origin"),)))


def test_groups_can_be_entities_of_the_graph():
    graph = with_entities()
    model = Table(torch.tensor([[0.0, 9, 2, 1], [4, 3, 2, 1]]))
    config = EvalConfig(k=(2,), groups=("all",), metrics=(ExposureShare("news", OfEntity("genre", 1)),))
    found = evaluate(model, graph, pairs((1, 0)), config)
    assert found["all"]["exposure_news@2"] == pytest.approx(D2 / (1 + D2))  # 0 1: video 1 is news
    with pytest.raises(ValueError, match="genre has 2 rows"):
        OfEntity("genre", 2)(found.rankings["all"])


def test_given_lists_are_judged_as_a_models_are():
    torch.manual_seed(0)
    model, graph, targets = toy(torch.rand(6, 20).tolist(), [(0, 1), (0, 1), (3, 4)], [(0, 2), (0, 3), (3, 5), (4, 9)])
    config = EvalConfig(k=(3, 5), groups=("all", "activity"), auc=False, metrics=(Novelty(),))
    truth = evaluate(model, graph, targets, config)
    users = truth.users["all"].flip(0)
    found = evaluate_lists(users, truth.lists["all"].flip(0), graph, targets, config)
    assert list(found.metrics) == list(truth.metrics)
    for group in truth:
        assert found[group] == pytest.approx(truth[group], nan_ok=True)
    missing = evaluate_lists(users[:0], truth.lists["all"][:0], graph, targets, config)
    assert missing["all"]["recall@5"] == 0
    assert missing.counts["all"]["users"] == 3


def test_given_lists_that_cannot_be_are_refused():
    _, graph, targets = toy([[1, 2, 3]] * 2, [(0, 0)], [(0, 1)])
    config = EvalConfig(k=(2,))
    users = torch.tensor([0])
    for lists, said in (
        ([[1]], r"lists must be \[1, 2 or more\]"),
        ([[1, 1]], "a list holds a video twice"),
        ([[1, 3]], "lists"),
        ([[1, -2]], "-1 where they end"),
        ([[0, 1]], "a video that its user has seen"),
    ):
        with pytest.raises(ValueError, match=said):
            evaluate_lists(users, torch.tensor(lists), graph, targets, config)
    with pytest.raises(ValueError, match="two lists"):
        evaluate_lists(torch.tensor([0, 0]), torch.tensor([[1, 2], [2, 1]]), graph, targets, config)
    assert evaluate_lists(users, torch.tensor([[1, 2]]), graph, targets, config)["all"]["mrr@2"] == 1
