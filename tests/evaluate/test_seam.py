"""Metrics of one's own, what an evaluation keeps, new videos in the one list, and calls that are wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl
import pytest
import torch

from mmgraph.evaluate import EvalConfig, Ranking, evaluate, evaluate_test, new_recall, new_share
from mmgraph.models import BPRMF, EASE, Popularity
from mmgraph.recommend import Constraint, Quota, Released
from tests.evaluate.toys import ToyGraph, csr, toy
from tests.worlds import twelve_nodes


def mean_place(ranking: Ranking):
    place = torch.arange(1, ranking.lists.shape[1] + 1)
    return (ranking.hits * place).sum(1) / ranking.hits.sum(1)


@dataclass(frozen=True)
class Spread:
    """Distinct videos over all places of the longest lists."""

    name: str = "spread"
    at_k: bool = False

    def __call__(self, ranking: Ranking) -> float:
        return len(ranking.lists.unique()) / ranking.lists.numel()


def test_metrics_of_ones_own_stand_beside_the_others():
    model, graph, targets = toy([[4, 3, 2, 1]] * 3, [(2, 0), (2, 3), (1, 0)], [(0, 1), (1, 3), (2, 2)])
    config = EvalConfig(k=(2, 3), groups=("all", "activity"), activity_groups=2, metrics=(mean_place, Spread()))
    found = evaluate(model, graph, targets, config)
    assert found.per_user["all"]["mean_place@2"].tolist()[::2] == [2, 2]  # lists 0 1 2, 1 2 3 and 1 2
    assert math.isnan(found.per_user["all"]["mean_place@2"][1])  # no hit, no place
    assert found["all"]["mean_place@2"] == 2
    assert found["all"]["spread"] == 5 / 9
    assert found["activity_2"]["spread"] == 4 / 6
    assert "spread" not in found.per_user["all"]
    assert found.frame()["mean_place@3"].to_list()[0] == 2
    again = mean_place(found.rankings["all"].at(2))
    assert torch.equal(again.nan_to_num(-1), found.per_user["all"]["mean_place@2"].nan_to_num(-1).float())


def test_metrics_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="'ndcg'"):
        EvalConfig(metrics=(Spread(name="ndcg"),))
    with pytest.raises(ValueError, match="names of their own"):
        EvalConfig(metrics=(Spread(), Spread()))
    with pytest.raises(ValueError, match="needs a `name`"):
        EvalConfig(metrics=(lambda ranking: 1.0,))
    with pytest.raises(ValueError, match="object with __call__"):
        EvalConfig(metrics=(Spread,))
    model, graph, targets = toy([[4, 3]], [], [(0, 1)])

    def wrong(ranking):
        return torch.zeros(5)

    def text(ranking):
        return "high"

    with pytest.raises(ValueError, match="'wrong' returned 5 values for 1 lists"):
        evaluate(model, graph, targets, EvalConfig(metrics=(wrong,)))
    with pytest.raises(ValueError, match="'text' returned str"):
        evaluate(model, graph, targets, EvalConfig(metrics=(text,)))


def test_the_cheap_form_keeps_what_the_monitor_names():
    config = EvalConfig(k=(7,), metrics=(Spread(), mean_place))
    assert config.for_validation().metrics == ()
    assert config.for_validation("mean_place@7").metrics == (mean_place,)
    assert config.for_validation("cold/recall@7").groups == ("all", "cold")
    assert config.for_validation("activity_2/recall@7").groups == ("all", "activity")
    assert config.for_validation("gauc").auc
    assert not config.for_validation("recall@7").auc


def test_new_videos_in_the_one_list_by_hand():
    # rows 3, 4, 5 are new. Lists of 3: user 0 (saw 0): 1 3 2; user 1: 0 1 2; user 2: 3 4 5
    scores = [[9, 8, 6, 7, 1, 0], [9, 8, 7, 1, 1, 1], [1, 1, 1, 9, 8, 7]]
    model, graph, targets = toy(
        scores, [(0, 0), (0, 0), (3 - 1, 1), (1, 2)], [(0, 3), (0, 4), (0, 1), (1, 0), (2, 4), (2, 0)]
    )
    # user 1 saw 2: 0 1 3; user 2 saw 1: 3 4 5
    found = evaluate(model, graph, targets, EvalConfig(k=(3,), groups=("all", "warm", "cold")))
    assert found.lists["all"].tolist() == [[1, 3, 2], [0, 1, 3], [3, 4, 5]]
    assert found.per_user["all"]["new_share@3"].tolist() == pytest.approx([1 / 3, 1 / 3, 1])
    assert found["all"]["new_share@3"] == pytest.approx(5 / 9)
    # new targets: user 0 has 3 and 4 (3 found), user 2 has 4 (found); user 1 has none
    assert found.per_user["all"]["recall_new@3"].tolist()[::2] == [1 / 2, 1]
    assert math.isnan(found.per_user["all"]["recall_new@3"][1])
    assert found["all"]["recall_new@3"] == 3 / 4
    # known targets: user 0 has 1 (found), user 1 has 0 (found), user 2 has 0 (not)
    assert found.per_user["all"]["recall_known@3"].tolist() == [1, 1, 0]
    assert found["all"]["recall_known@3"] == pytest.approx(2 / 3)
    assert found["all"]["new_shown@3"] == 3 / 3
    one = evaluate(model, graph, targets, EvalConfig(k=(1,), groups=("all",)))
    assert one["all"]["new_shown@1"] == 1 / 3  # row 3 alone, in user 2's list
    assert not [name for name in found["cold"] if name.startswith("new_")]
    model, graph, targets = toy([[1, 2]], [(0, 0), (0, 1)], [(0, 1)])  # nothing is new
    assert "new_share@1" not in evaluate(model, graph, targets, EvalConfig(k=(1,), exclude_seen=False))["all"]


def test_new_share_and_new_recall_of_short_and_empty_lists():
    new = torch.tensor([False, True])
    lists = torch.tensor([[1, -1], [-1, -1]])
    share = new_share(lists, new)
    assert share[0] == 1
    assert math.isnan(share[1])
    hits = torch.tensor([[True, False], [False, False]])
    of_new, of_known = new_recall(lists, hits, torch.tensor([0, 1]), torch.tensor([1, 0]), new)
    assert of_new[0] == 1
    assert math.isnan(of_new[1])
    assert math.isnan(of_known[0])
    assert of_known[1] == 0


def test_an_evaluation_is_short_to_look_at_and_goes_to_pandas():
    model, graph, targets = toy([[4, 3, 2, 1]] * 50, [(2, 0)], [(u, 1) for u in range(50)])
    found = evaluate(model, graph, targets, EvalConfig(k=(1, 2)))
    assert len(repr(found)) < 250
    assert "50 users" in repr(found)
    assert "<script" not in found._repr_html_()
    assert "recall@2" in found._repr_html_()
    frame = found.to_pandas()
    assert list(frame.columns) == found.frame().columns
    assert len(frame) == len(found.frame())
    assert set(found) == set(found.metrics)
    assert "users" not in dict(found["all"])
    assert found["all"]["users"] == found.counts["all"]["users"] == 50
    with pytest.raises(KeyError, match="no metric 'recal@1'"):
        found["all"]["recal@1"]
    with pytest.raises(KeyError, match="no group 'hot'"):
        found["hot"]
    assert len(repr(found.rankings["all"])) < 60


def test_a_list_that_holds_every_candidate_is_no_result():
    # rows 2, 3 are new: lists of 2 new videos hold them all
    model, graph, targets = toy([[4, 3, 2, 1]] * 2, [(0, 0), (1, 1)], [(0, 2), (1, 0)])
    found = evaluate(model, graph, targets, EvalConfig(k=(1, 2), groups=("all", "cold")))
    assert found.trivial == {"all": (), "cold": (2,)}
    assert "recall@1" in found.reported["cold"]
    assert "recall@2" not in found.reported["cold"]
    wide = evaluate(model, graph, targets, EvalConfig(k=(2, 3), groups=("all", "cold")))
    assert list(wide.reported) == ["all"]
    assert "cold" not in wide._repr_html_()
    assert wide.table()["group"].to_list() == ["all"]


def test_a_constraint_decides_what_is_ranked_and_what_is_a_target():
    model, graph, targets = toy([[5, 4, 3, 2, 1]] * 2, [(0, 0)], [(0, 1), (0, 3), (1, 4)])
    config = EvalConfig(k=(2,), groups=("all",))
    found = evaluate(model, graph, targets, config, constraint=Constraint(5).block([1]))
    assert found.lists["all"].tolist() == [[2, 3], [0, 2]]
    assert found.counts["all"] == {"users": 2, "targets": 2, "candidates": 5, "dropped": 1}
    assert found.rankings["all"].num_candidates.tolist() == [3, 4]
    # user 0: 3 above 4 and below 2; user 1: 4 below all
    assert found.per_user["all"]["user_auc"].tolist() == [1 / 2, 0]
    # pooled: positives 2 and 1, negatives 3 1 | 5 3 2: wins 1 + ½ and ½ of 10
    assert found["all"]["auc"] == pytest.approx((1 + 0.5 + 0.5) / 10)
    time = Constraint(5, rules=(Released(torch.tensor([0.0, 9, 0, 0, 0], dtype=torch.float64), now=5.0),))
    by_rule = evaluate(model, graph, targets, config, constraint=time)
    assert by_rule["all"] == pytest.approx(found["all"], nan_ok=True)
    group = torch.tensor([True, True, True, False, False])
    quota = Constraint(5, quotas=(Quota(group, at_most=1),))
    assert evaluate(model, graph, targets, config, constraint=quota).lists["all"].tolist() == [[1, 3], [0, 3]]
    with pytest.raises(ValueError, match="one length"):
        evaluate(model, graph, targets, EvalConfig(), constraint=quota)


def test_wrong_calls_say_what_is_wrong_and_what_to_do():
    model, graph, targets = toy([[3, 2, 1]], [], [(0, 1)])
    with pytest.raises(TypeError, match="device='cuda'"):
        evaluate(model, graph, targets, "cuda")
    with pytest.raises(TypeError, match="EvalConfig"):
        evaluate(model, graph, targets, 20)
    with pytest.raises(ValueError, match="'gpu' is none"):
        evaluate(model, graph, targets, device="gpu")
    with pytest.raises(TypeError, match=r"build_graph\(split\)"):
        evaluate(model, targets, graph)
    with pytest.raises(TypeError, match=r"split\.valid"):
        evaluate(model, graph, graph)
    with pytest.raises(TypeError, match="the model comes first"):
        evaluate(graph, model, targets)
    with pytest.raises(TypeError, match="the model comes first"):
        evaluate(BPRMF, graph, targets)
    with pytest.raises(ValueError, match=r"seen is \[10, 3\], but the graph has 1 users"):
        evaluate(model, graph, targets, seen=csr([(0, 0)], (10, 3)))
    with pytest.raises(ValueError, match="it holds rows"):
        evaluate(model, graph, pl.DataFrame({"user": [0.5], "video": [1]}))
    with pytest.raises(ValueError, match="no targets"):
        evaluate(model, graph, None)
    with pytest.raises(TypeError, match="candidates must be"):
        evaluate(model, graph, targets, candidates=[1, 2])
    with pytest.raises(ValueError, match="candidates must be"):
        EvalConfig(candidates=[1, 2])
    with pytest.raises(TypeError, match="evaluate_test takes a Split, got a NoneType"):
        evaluate_test(model, graph, None, EvalConfig())


def test_a_model_that_was_not_solved_is_refused():
    graph = twelve_nodes()
    targets = pl.DataFrame({"user": [0], "video": [4]})
    for model in (Popularity(graph), EASE(graph)):
        with pytest.raises(ValueError, match=rf"{type(model).__name__} was not fitted: call model.solve\(graph\)"):
            evaluate(model, graph, targets)
        model.solve(graph)
        assert evaluate(model, graph, targets)["all"]["users"] == 1


def test_candidates_that_are_a_function_of_the_split_are_made_from_it():
    asked = []

    def lists(split):
        asked.append(split)
        return split.lists

    class Fake:
        lists = None

        def masked(self, stage):
            return [1]

    model, graph, targets = toy([[3, 2, 1]], [], [(0, 1)])
    config = EvalConfig(k=(1,), candidates=lists)
    with pytest.raises(TypeError, match="function of the split"):
        evaluate(model, graph, targets, config)
    assert config.for_split(Fake()).candidates is None
    assert asked
    assert isinstance(graph, ToyGraph)
    assert EvalConfig(exclude_seen=False).protocol_parameters(Fake()) == {"exclude_seen": False}
    assert EvalConfig().protocol_parameters(Fake()) == {}
