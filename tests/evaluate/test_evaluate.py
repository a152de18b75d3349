"""Ranking and metrics: fractions worked out by hand, and a slow oracle in plain Python."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmgraph.data import Split
from mmgraph.evaluate import (
    EvalConfig,
    Evaluation,
    Opening,
    average_popularity,
    coverage,
    evaluate,
    evaluate_test,
    gini,
    mann_whitney_auc,
    top_k_metrics,
)
from mmgraph.models.base import Embeddings, Recommender
from mmgraph.ops import CSR
from mmgraph.recommend import ranking_factors
from tests.evaluate.toys import Table, ToyGraph, toy

# --- by hand ----------------------------------------------------------------------------------------------------------


def test_metrics_equal_fractions_worked_out_by_hand():
    # user 0 ranks 3 2 1 0 4 with targets 3, 1, 4: hits at places 1, 3, 5; user 1 the same order, target 0: place 4
    model, graph, targets = toy([[2, 3, 4, 5, 1]] * 2, [], [(0, 3), (0, 1), (0, 4), (1, 0)])
    result = evaluate(model, graph, targets, EvalConfig(k=(2, 4), groups=("all",)))
    user = {name: values.tolist() for name, values in result.per_user["all"].items()}
    log = [1 / math.log2(i + 2) for i in range(5)]
    assert user["recall@2"] == pytest.approx([1 / 3, 0])
    assert user["recall@4"] == pytest.approx([2 / 3, 1])
    assert user["precision@4"] == pytest.approx([2 / 4, 1 / 4])
    assert user["ndcg@2"] == pytest.approx([log[0] / (log[0] + log[1]), 0])  # IDCG over min(3, 2) places
    assert user["ndcg@4"] == pytest.approx([(log[0] + log[2]) / (log[0] + log[1] + log[2]), log[3]])
    assert user["map@4"] == pytest.approx([(1 / 1 + 2 / 3) / 3, 1 / 4])
    assert user["map@2"] == pytest.approx([1 / 2, 0])
    assert user["mrr@4"] == pytest.approx([1, 1 / 4])
    assert user["mrr@2"] == pytest.approx([1, 0])
    assert user["hit_rate@2"] == [1, 0]
    # user 0: negatives 2 and 0 against positives 3 > 2 > 1 > 0 > 4: (2 + 1 + 0) of 6 pairs; user 1: 1 of 4
    assert user["user_auc"] == pytest.approx([3 / 6, 1 / 4])
    assert result["all"]["user_auc"] == pytest.approx((3 / 6 + 1 / 4) / 2)
    assert result["all"]["gauc"] == pytest.approx((3 * 3 / 6 + 1 / 4) / 4)
    # pooled: positives 5 3 1 2, negatives 4 2 5 4 3 1: wins 5: 5.5, 3: 2.5, 1: .5, 2: 1.5 of 4 * 6 pairs
    assert result["all"]["auc"] == pytest.approx(10 / 24)
    assert result["all"]["recall@4"] == pytest.approx(5 / 6)
    assert (result["all"]["users"], result["all"]["targets"], result["all"]["candidates"]) == (2, 4, 5)


def test_top_k_metrics_divides_by_k_where_the_list_is_shorter():
    out = top_k_metrics(torch.tensor([[True, False]]), torch.tensor([1]), [10])
    assert out["precision@10"].item() == pytest.approx(1 / 10)
    assert out["ndcg@10"].item() == 1
    assert out["map@10"].item() == 1


def test_mann_whitney_auc_counts_a_tie_as_half_and_is_nan_without_negatives():
    # scores 1 2 2 with positives {2}: ranks 1, 2.5, 2.5
    assert mann_whitney_auc(torch.tensor(2.5), torch.tensor(1), torch.tensor(3)).item() == pytest.approx(3 / 4)
    assert math.isnan(mann_whitney_auc(torch.tensor(3.0), torch.tensor(2), torch.tensor(2)).item())


def test_coverage_gini_and_average_popularity_by_hand():
    lists = torch.tensor([[0, 1], [0, -1]])
    assert coverage(torch.tensor([2, 1, 0, 0])) == 2 / 4
    assert gini(torch.tensor([3, 3, 3])) == 0
    assert gini(torch.tensor([0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert gini(torch.tensor([3, 1])) == pytest.approx(1 / 4)  # sorted 1 3: (-1 * 1 + 1 * 3) / (2 * 4)
    assert math.isnan(gini(torch.zeros(3)))
    assert average_popularity(lists, torch.tensor([10, 4, 0, 0])).tolist() == [7, 10]


def test_groups_rank_cold_targets_among_cold_videos_only():
    # videos 0, 1, 2 are touched; 3, 4, 5 are not. Cold ranking for user 0: 4 (score 3), 3 (2), 5 (1)
    scores = [[9, 8, 7, 2, 3, 1], [9, 8, 7, 3, 2, 1]]
    model, graph, targets = toy(scores, [(0, 0), (1, 1), (2 - 1, 2)], [(0, 3), (0, 2), (1, 0)])
    result = evaluate(model, graph, targets, EvalConfig(k=(1, 2), groups=("all", "warm", "cold")))
    assert result.users["cold"].tolist() == [0]
    assert result["cold"]["recall@1"] == 0
    assert result["cold"]["recall@2"] == 1
    assert result["cold"]["mrr@2"] == 1 / 2
    assert result["cold"]["user_auc"] == 1 / 2
    assert result["cold"]["candidates"] == 3
    assert result.users["warm"].tolist() == [0, 1]
    # user 0 has seen 0, so the warm list is 1, 2; user 1 has seen 1 and 2: the warm list is 0 alone
    assert result.per_user["warm"]["mrr@2"].tolist() == [1 / 2, 1]
    assert result.per_user["warm"]["user_auc"].tolist()[0] == 0
    assert math.isnan(result.per_user["warm"]["user_auc"].tolist()[1])  # no negative left
    assert result["warm"]["user_auc"] == 0
    assert result["all"]["targets"] == 3
    assert result["cold"]["popularity@2"] == 0


def test_activity_groups_keep_equal_users_together_and_partition_all():
    seen = [(user, video) for user, count in enumerate([1, 1, 2, 3, 5, 5]) for video in range(count)]
    targets = [(user, 9) for user in range(6)]
    model, graph, frame = toy([list(range(10))] * 6, seen, targets)
    result = evaluate(model, graph, frame, EvalConfig(k=(1,), groups=("activity",), activity_groups=2))
    assert result.users["activity_1"].tolist() == [0, 1, 2]
    assert result.users["activity_2"].tolist() == [3, 4, 5]
    assert result.about["activity_1"] == "users with 1 to 2 training interactions"
    many = evaluate(model, graph, frame, EvalConfig(k=(1,), groups=("activity",), activity_groups=4))
    members = [users for name, users in many.users.items() if name.startswith("activity")]
    assert torch.cat(members).sort().values.tolist() == [0, 1, 2, 3, 4, 5]
    degree = graph.seen.degree()
    assert all(degree[a].max() < degree[b].min() for a, b in itertools.pairwise(members))


def test_gini_and_coverage_of_a_group_count_its_candidates_only():
    # cold videos 2, 3; both users get video 2 first
    model, graph, targets = toy([[5, 4, 2, 1]] * 2, [(0, 0), (1, 1)], [(0, 2), (1, 2)])
    cold = evaluate(model, graph, targets, EvalConfig(k=(1,), groups=("cold",)))["cold"]
    assert cold["coverage@1"] == 1 / 2
    assert cold["gini@1"] == 1 / 2  # [2, 0] over two candidates; over all four it would be 3/4


# --- rules ------------------------------------------------------------------------------------------------------------


def test_equal_scores_come_in_the_order_of_video_rows():
    model, graph, targets = toy([[1.0] * 200], [(0, 0)], [(0, 3)])
    result = evaluate(model, graph, targets, EvalConfig(k=(2, 3), groups=("all",)))
    assert result["all"]["hit_rate@2"] == 0  # the list is 1, 2, 3, …: row 0 is seen
    assert result["all"]["mrr@3"] == pytest.approx(1 / 3)
    assert result["all"]["auc"] == result["all"]["user_auc"] == 1 / 2


def test_seen_targets_and_repeated_pairs_do_not_count():
    model, graph, targets = toy([[3, 2, 1]], [(0, 0), (0, 0)], [(0, 0), (0, 1), (0, 1)])
    result = evaluate(model, graph, targets, EvalConfig(k=(1,), groups=("all",)))
    assert result["all"]["targets"] == 1
    assert result["all"]["recall@1"] == 1
    assert result["all"]["auc"] == 1
    with pytest.raises(ValueError, match="no target to rank"):
        evaluate(model, graph, targets.head(1))


def test_the_mask_can_come_from_elsewhere_than_the_graph():
    model, graph, targets = toy([[3, 2, 1]], [], [(0, 1)])
    assert evaluate(model, graph, targets, EvalConfig(k=(1,)))["all"]["recall@1"] == 0
    mask = CSR.from_edges(torch.tensor([0]), torch.tensor([0]), (1, 3))
    assert evaluate(model, graph, targets, EvalConfig(k=(1,)), seen=mask)["all"]["recall@1"] == 1


def test_nan_scores_are_refused():
    model, graph, targets = toy([[3, 2, 1], [3, math.nan, 1]], [], [(0, 0), (1, 0)])
    with pytest.raises(ValueError, match="Table gave 1 NaN scores, the first for user row 1 and video row 1"):
        evaluate(model, graph, targets)
    infinite, _, _ = toy([[math.inf, -math.inf, 1], [3, 2, 1]], [], [])
    assert evaluate(infinite, graph, targets, EvalConfig(k=(1,)))["all"]["recall@1"] == 1


def test_rows_out_of_range_and_missing_columns_are_named():
    model, graph, targets = toy([[3, 2, 1]], [], [(0, 3)])
    with pytest.raises(ValueError, match=r"video rows must lie in \[0, 3\)"):
        evaluate(model, graph, targets)
    with pytest.raises(ValueError, match="'user' and 'video'"):
        evaluate(model, graph, targets.rename({"user": "u"}))


def test_evaluation_leaves_the_model_as_it_was_and_encodes_once():
    class Whole(Table):
        def score(self, emb, users, videos=None):
            return self.table  # the parameter itself: masking must not write into it

    table = torch.tensor([[3.0, 2, 1]])
    model = Whole(table)
    _, graph, targets = toy([[3, 2, 1]], [(0, 0)], [(0, 1)])
    model.train()
    assert evaluate(model, graph, targets)["all"]["recall@5"] == 1
    assert torch.equal(model.table.detach(), table)
    assert model.training
    assert model.modes == [False]


def test_block_size_does_not_change_anything():
    torch.manual_seed(0)
    scores = torch.randint(0, 5, (17, 30)).tolist()
    seen = [(u, v) for u in range(17) for v in range(20) if (u + v * v) % 7 < u % 5 + 1 and v % 5]
    targets = [(u, v) for u in range(17) for v in range(u % 4, 30, 6)]
    model, graph, frame = toy(scores, seen, targets)
    one = evaluate(model, graph, frame, EvalConfig(block_size=1))
    all_at_once = evaluate(model, graph, frame)
    assert one.metrics.keys() == all_at_once.metrics.keys() >= {"all", "warm", "cold", "activity_1"}
    for group in one.metrics:
        assert one[group] == pytest.approx(all_at_once[group], nan_ok=True)


class Vectors(Recommender):
    """Embeddings as they are; ``copies`` has a score of its own, which says the same."""

    def __init__(self, user: Tensor, video: Tensor) -> None:
        super().__init__()
        self.rows = Embeddings(user, video)

    def encode(self, graph, rows=None) -> Embeddings:
        return self.rows


class Copies(Vectors):
    def score(self, emb, users, videos=None):
        return super().score(emb, users, videos)


def test_dot_products_ranked_without_all_scores_give_the_same_metrics():
    generator = torch.Generator().manual_seed(0)
    user, video = torch.randn(30, 8, generator=generator), torch.randn(50, 8, generator=generator)
    video[7] = video[3]  # equal scores
    seen = CSR.from_edges(*(torch.randint(0, n, (200,), generator=generator) for n in (30, 50)), (30, 50))
    pairs = {name: torch.randint(0, n, (90,), generator=generator) for name, n in (("user", 30), ("video", 50))}
    targets = pl.DataFrame({name: rows.numpy() for name, rows in pairs.items()})
    config = EvalConfig(k=(3, 20), groups=("activity",), auc=False)
    fast, slow = Vectors(user, video), Copies(user, video)
    assert ranking_factors(fast, fast.rows) is not None
    assert ranking_factors(slow, slow.rows) is None
    assert ranking_factors(fast, Embeddings(user, video * torch.nan)) is None  # its blocks name the NaN
    ours, truth = (evaluate(model, ToyGraph(seen), targets, config) for model in (fast, slow))
    assert ours.metrics == truth.metrics
    assert ours.frame().equals(truth.frame())


def test_gradients_still_flow_through_what_the_graph_cached_during_evaluation():
    from mmgraph.ops import spmm

    class OnGraph(Recommender):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3, 2))

        def encode(self, graph, rows=None):
            return Embeddings(spmm(graph.seen, self.weight), self.weight)

    _, graph, targets = toy([[3, 2, 1]], [(0, 0)], [(0, 1)])
    model = OnGraph()
    evaluate(model, graph, targets)
    model.encode(graph).user.sum().backward()
    assert model.weight.grad is not None


def test_eval_config_refuses_unknown_keys_and_sorts_k():
    assert EvalConfig(k=(20, 5, 5)).k == (5, 20)
    with pytest.raises(ValueError, match="recal"):
        EvalConfig(recal=3)
    with pytest.raises(ValueError, match="at least one"):
        EvalConfig(k=())
    cheap = EvalConfig(k=(7,)).for_validation()
    assert (cheap.k, cheap.groups, cheap.auc) == ((7,), ("all",), False)


def test_evaluation_frame_holds_every_users_values():
    model, graph, targets = toy([[3, 2, 1]] * 2, [(0, 0)], [(0, 1), (1, 1)])
    result = evaluate(model, graph, targets, EvalConfig(k=(1,), groups=("all", "cold")))
    assert isinstance(result, Evaluation)
    frame = result.frame()
    rows = frame.filter(pl.col("group") == "all").sort("user")
    assert rows["user"].to_list() == [0, 1]
    assert rows["recall@1"].to_list() == [1, 0]


def test_evaluate_test_opens_once_masks_by_protocol_and_records_it():
    class Sealed(Split):
        protocol_id = "toy-1"
        opened = 0

        def __init__(self):
            pass

        @property
        def dataset(self):
            return ToyGraph(CSR.from_edges(torch.tensor([0]), torch.tensor([0]), (1, 3)))

        def seen(self, stage):
            assert stage == "test"
            return pl.DataFrame({"user": [0], "video": [0]})

        def masked(self, stage):
            return pl.DataFrame({"user": [0], "video": [0]})

        def open_test(self, experiment):
            self.opened += 1
            return pl.DataFrame({"user": [0], "video": [1]})

    model, graph, _ = toy([[3, 2, 1]], [], [])  # the graph lost its edges: the split still says what is masked
    split = Sealed()
    result = evaluate_test(model, graph, split, "mine", EvalConfig(k=(1,)))
    assert result["all"]["recall@1"] == 1
    assert split.opened == 1
    assert isinstance(result.opening, Opening)
    assert (result.opening.experiment, result.opening.protocol_id) == ("mine", "toy-1")
    assert result.opening.time.startswith("20")


# --- the oracle -------------------------------------------------------------------------------------------------------


def oracle(scores, seen, targets, candidates, k):
    """Every metric of one group in plain Python, from the definitions."""
    users = sorted({u for u, v in targets if v in candidates})
    per_user, positives, negatives, weights = [], [], [], []
    for u in users:
        mine = {v for w, v in targets if w == u and v in candidates}
        free = [v for v in candidates if (u, v) not in seen]
        order = sorted(free, key=lambda v: (-scores[u][v], v))
        top = order[:k]
        hit = [v in mine for v in top]
        best = min(len(mine), k)
        wins = [
            (scores[u][p] > scores[u][n]) + Fraction(scores[u][p] == scores[u][n], 2)
            for p in mine
            for n in free
            if n not in mine
        ]
        per_user.append(
            {
                "recall": sum(hit) / len(mine),
                "precision": sum(hit) / k,
                "ndcg": sum(1 / math.log2(i + 2) for i, h in enumerate(hit) if h)
                / sum(1 / math.log2(i + 2) for i in range(best)),
                "map": sum(sum(hit[: i + 1]) / (i + 1) for i, h in enumerate(hit) if h) / best,
                "mrr": next((1 / (i + 1) for i, h in enumerate(hit) if h), 0),
                "hit_rate": float(any(hit)),
                "user_auc": float(sum(wins) / len(wins)) if wins else math.nan,
            }
        )
        weights.append(len(mine))
        positives += [scores[u][p] for p in mine]
        negatives += [scores[u][n] for n in free if n not in mine]
    pairs = [(p > n) + Fraction(p == n, 2) for p in positives for n in negatives]
    auc = float(sum(pairs) / len(pairs)) if pairs else math.nan
    known = [(row["user_auc"], w) for row, w in zip(per_user, weights, strict=True) if not math.isnan(row["user_auc"])]
    gauc = sum(a * w for a, w in known) / sum(w for _, w in known) if known else math.nan
    return users, per_user, auc, gauc


@st.composite
def worlds(draw):
    users, videos = draw(st.integers(1, 5)), draw(st.integers(2, 12))
    values = st.sampled_from([-1.5, 0.0, 1.0, 2.0, 3.0])  # few values: ties everywhere
    scores = draw(st.lists(st.lists(values, min_size=videos, max_size=videos), min_size=users, max_size=users))
    pair = st.tuples(st.integers(0, users - 1), st.integers(0, videos - 1))
    seen, targets = draw(st.sets(pair)), draw(st.sets(pair, min_size=1))
    return scores, seen, sorted(targets), draw(st.integers(1, 14)), draw(st.integers(1, users))


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_evaluate_equals_the_oracle(world):
    scores, seen, targets, k, block = world
    targets = [t for t in targets if t not in seen]
    if not targets:
        return
    model, graph, frame = toy(scores, sorted(seen), targets)
    result = evaluate(model, graph, frame, EvalConfig(k=(k,), block_size=block))
    touched = {v for _, v in seen}
    videos = range(len(scores[0]))
    groups = {
        "all": set(videos),
        "warm": touched,
        "cold": set(videos) - touched,
    }
    for group, candidates in groups.items():
        users, rows, auc, gauc = oracle(scores, seen, targets, sorted(candidates), k)
        if not users:
            assert group not in result.metrics
            continue
        assert result.users[group].tolist() == users
        for metric in rows[0]:
            name = metric if metric == "user_auc" else f"{metric}@{k}"
            want = [row[metric] for row in rows]
            assert result.per_user[group][name].tolist() == pytest.approx(want, nan_ok=True), (group, name)
        assert result[group]["auc"] == pytest.approx(auc, nan_ok=True)
        assert result[group]["gauc"] == pytest.approx(gauc, nan_ok=True)
