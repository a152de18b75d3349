"""People who came after training, by what they watched in order, and people of whom only a profile is known."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from mmgraph.data import Dataset, leave_last_one_out, random_split
from mmgraph.data.errors import UnknownIdError
from mmgraph.graph import build_graph
from mmgraph.models import BPRMF, EASE, GRU4Rec, People, SASRec
from mmgraph.recommend import Constraint, Prerequisites, clicks_of, recommend, recommend_ids
from mmgraph.train import FitConfig, fit
from tests.recommend.test_constraint import csr


def series():
    """12 people watch the episodes of a ring of 10 in order, each from another one on."""
    events = [(f"u{u:02}", f"e{(u * 3 + step) % 10}", 3600.0 * step) for u in range(12) for step in range(7)]
    frame = pl.DataFrame(events, schema=["user_id", "video_id", "timestamp"], orient="row")
    split = leave_last_one_out(Dataset.from_frames(frame, name="series"))
    return split.dataset, build_graph(split)


@pytest.mark.parametrize("kind", [SASRec, GRU4Rec])
def test_a_new_person_with_the_same_ordered_history_gets_the_same_list(kind):
    dataset, graph = series()
    torch.manual_seed(0)
    model = kind(graph, embedding_dim=8)
    past = graph.histories()
    watched = {f"new{u}": [f"e{int(v)}" for v in past.video[u][past.mask[u]]] for u in range(12)}
    people = clicks_of(dataset, watched)
    found = recommend_ids(model, graph, dataset, list(watched), k=5, people=people).to_frame()
    known = recommend_ids(model, graph, dataset, [f"u{u:02}" for u in range(12)], k=5).to_frame()
    assert found["video"].to_list() == known["video"].to_list()
    assert found["score"].to_list() == pytest.approx(known["score"].to_list(), abs=1e-5)
    backwards = clicks_of(dataset, {name: ids[::-1] for name, ids in watched.items()})
    other = recommend_ids(model, graph, dataset, list(watched), k=5, people=backwards).to_frame()
    assert other["score"].to_list() != pytest.approx(known["score"].to_list(), abs=1e-5)


def test_what_people_watched_counts_as_seen_and_may_be_said_to_be_unknown():
    dataset, graph = series()
    model = EASE(graph)
    model.solve(graph)
    people = clicks_of(dataset, {"one": ["e0", "e1"], "none": []})
    found = recommend_ids(model, graph, dataset, ["one", "none"], k=10, people=people).to_frame()
    mine = found.filter(pl.col("user") == "one")
    assert not {"e0", "e1"} & set(mine["video"])
    assert len(mine) == 8
    assert found.filter(pl.col("user") == "none")["fallback"].unique().to_list() == ["popular"]
    again = recommend(model, graph, people=people, k=10, exclude_seen=False)
    assert {0, 1} < set(again.video[0].tolist())
    with pytest.raises(ValueError, match="person 1 has no interaction"):
        recommend(model, graph, people=people, unknown_user="error")
    with pytest.raises(UnknownIdError, match="unknown video 'e77'"):
        clicks_of(dataset, {"one": ["e77"]})
    with pytest.raises(ValueError, match="3 user_ids for 2 people"):
        recommend_ids(model, graph, dataset, ["a", "b", "c"], people=people)


def test_what_a_constraint_knows_of_known_users_is_not_said_of_new_people():
    dataset, graph = series()
    model = EASE(graph)
    model.solve(graph)
    # every episode from e1 on needs a concept that user 0 has mastered; a new person is row 0 of nobody
    needs = csr([(v, 0) for v in range(1, 10)], (10, 1))
    limits = Constraint(10, seen=csr([], (12, 10)), rules=(Prerequisites(needs, csr([(0, 0)], (12, 1))),))
    assert recommend(model, graph, [0], k=10, constraint=limits, exclude_seen=False).video[0].min() >= 0
    new = recommend(model, graph, people=clicks_of(dataset, {"new": ["e5"]}), k=10, constraint=limits)
    assert new.video.tolist() == [[0] + [-1] * 9]


def profiles():
    """12 children watched cartoons alone, 12 adults news alone; of two more only the profile is known."""
    generator = torch.Generator().manual_seed(0)
    rows = [
        (f"p{u:02}", f"{'news' if u % 2 else 'cartoon'}{int(v)}")
        for u in range(24)
        for v in torch.randperm(8, generator=generator)[:5]
    ]
    people = [f"p{u:02}" for u in range(24)] + ["new_child", "new_adult"]
    adult = torch.tensor([u % 2 for u in range(24)] + [0, 1])
    country = torch.arange(26) % 3
    features = torch.cat([torch.nn.functional.one_hot(x).float() for x in (adult, country)], 1)
    frame = pl.DataFrame(rows, schema=["user_id", "video_id"], orient="row")
    dataset = Dataset.from_frames(frame, users={"user_id": people}, user_features=features, name="profiles")
    return dataset, build_graph(random_split(dataset, seed=0)), features


def test_people_without_a_history_are_ranked_by_their_profile_and_it_is_said():
    dataset, graph, features = profiles()
    torch.manual_seed(0)
    model = BPRMF(graph, embedding_dim=16)
    fit(model, graph, config=FitConfig(epochs=30, batch_size=64, learning_rate=0.01))
    frame = recommend_ids(model, graph, dataset, ["new_child", "p00", "new_adult"], k=5).to_frame()
    lists = {who: frame.filter(pl.col("user") == who) for who in ("new_child", "new_adult", "p00")}
    assert all(v.startswith("cartoon") for v in lists["new_child"]["video"])
    assert all(v.startswith("news") for v in lists["new_adult"]["video"])
    assert lists["new_child"]["fallback"].unique().to_list() == ["profile"]
    assert lists["p00"]["fallback"].unique().to_list() == [None]
    later = recommend(model, graph, people=People(features=features[[25, 24]]), k=5)
    assert later.fallback == ("profile", "profile")
    ids = dataset.video_ids.ids
    assert [ids[int(v)] for v in later.video[0]] == lists["new_adult"]["video"].to_list()
    with_error = recommend(model, graph, [24], k=5, unknown_user="error")
    assert with_error.fallback == ("profile",)
