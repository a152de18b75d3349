"""What an experiment may say about its judge: a metric of one's own, and given candidates, each in a few lines."""

from __future__ import annotations

import polars as pl
import pytest

from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import EvalConfig, Requests, SampledCandidates, evaluate
from mmgraph.experiment import Experiment, Result, run, table
from mmgraph.graph import build_graph
from mmgraph.models import Popularity
from mmgraph.recommend import Constraint


def toy_split():
    pairs = [(u, v) for u in range(30) for v in range(30) if (u + v) % 3 == 0 or (u * v) % 7 == 1]
    return random_split(Dataset.from_frames(pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")), seed=0)


def first_place(ranking):
    return ranking.hits[:, 0]


def shown(split) -> Requests:
    """Each user's request lists ten videos."""
    rows = [(user, user, (user + 3 * i) % 30) for user in range(30) for i in range(10)]
    return Requests.from_frame(pl.DataFrame(rows, schema=["request", "user", "video"], orient="row"), split.dataset)


@pytest.fixture
def plain() -> Experiment:
    config = EvalConfig(k=(5,), groups=("all",))
    return Experiment(name="plain", split=toy_split, model=Popularity, evaluate=config, seeds=(0,))


def test_a_metric_of_ones_own_reaches_results_tables_and_the_files(plain, tmp_path):
    mine = plain.variant({"evaluate.metrics": (first_place,), "evaluate.k": (1, 5)}, name="mine")
    result = run(mine, 0, tmp_path)
    assert result.metric("first_place@5") == result.metric("hit_rate@1")
    assert result.metric("first_place@5", stage="valid") == result.metric("hit_rate@1", stage="valid")
    assert "first_place@5" in table([result], ["first_place@5", "recall@5"]).markdown()
    assert result.per_user()["first_place@5"].sum() == result.per_user()["hit_rate@1"].sum()
    assert "users" not in result.test["all"]
    assert Result.load(tmp_path / "mine" / "0").metric("first_place@1") == result.metric("first_place@1")


def test_given_candidates_are_ranked_and_are_another_protocol(plain, tmp_path):
    whole = run(plain, 0, tmp_path)
    lists = run(plain.variant({"evaluate.candidates": shown}, name="lists"), 0, tmp_path)
    sampled = run(plain.variant({"evaluate.candidates": SampledCandidates(9)}, name="sampled"), 0, tmp_path)
    assert len({whole.protocol, lists.protocol, sampled.protocol}) == 3
    assert len({whole.identity, lists.identity, sampled.identity}) == 3
    assert lists.per_user()["request"].n_unique() == len(lists.per_user())
    with pytest.raises(ValueError, match="one protocol"):
        table([whole, lists])


def without_the_first(split) -> Constraint:
    """Five videos that may not be shown."""
    return Constraint(split.dataset.num_videos).block(range(5))


def test_a_constraint_decides_valid_and_test_and_is_another_protocol(plain, tmp_path):
    whole = run(plain, 0, tmp_path)
    limited = run(plain.variant({"evaluate.constraint": without_the_first}, name="limited"), 0, tmp_path)
    assert limited.protocol != whole.protocol
    assert limited.identity != whole.identity
    split = toy_split()
    config = EvalConfig(k=(5,), constraint=without_the_first)
    graph = build_graph(split)
    model = Popularity(graph)
    model.solve(graph)
    found = evaluate(model, graph, split.valid, config.for_split(split))
    assert found["all"]["recall@5"] == limited.metric("recall@5", stage="valid")
    assert not bool((found.lists["all"] < 5).any())
    given = evaluate(model, graph, split.valid, EvalConfig(k=(5,)), constraint=without_the_first(split))
    assert given["all"] == found["all"]
    with pytest.raises(TypeError, match="for_split"):
        evaluate(model, graph, split.valid, config)
    with pytest.raises(ValueError, match="constraint must be a Constraint or a function of the split, got 3"):
        EvalConfig(constraint=3)
