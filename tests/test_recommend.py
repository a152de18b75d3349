"""Top-k with filters, raw ids, and explanations, on worlds small enough to work out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest
import torch

from mmgraph.data import Dataset, Features, UnknownIdError, Vocabulary, random_split
from mmgraph.graph import build_graph
from mmgraph.models import Embeddings, Recommender
from mmgraph.ops import CSR
from mmgraph.recommend import (
    Explanation,
    Reason,
    Recommendations,
    explain,
    find_rows,
    recommend,
    recommend_ids,
    score_block,
    user_blocks,
)


class Fixed(Recommender):
    """Scores 10 · user + preference of the video."""

    def __init__(self, preference: list[float]) -> None:
        super().__init__()
        self.register_buffer("preference", torch.tensor(preference))

    def encode(self, graph, rows=None):
        return Embeddings(torch.zeros(graph.num_users, 1), torch.zeros(graph.num_videos, 1))

    def score(self, emb, users, videos=None):
        return users[:, None] * 10 + self.preference[None]


def graph_of(pairs: list[tuple[int, int]], users: int, videos: int):
    rows = torch.tensor(pairs).reshape(-1, 2)
    seen = CSR.from_edges(rows[:, 0], rows[:, 1], (users, videos))
    return SimpleNamespace(num_users=users, num_videos=videos, seen=seen, modalities=[], features=None)


def test_recommend_ranks_filters_and_pads():
    graph = graph_of([(0, 2), (1, 0)], 2, 5)
    model = Fixed([1, 5, 9, 5, 0])
    best = recommend(model, graph, [1, 0], k=3)
    assert best.video.tolist() == [[2, 1, 3], [1, 3, 0]]  # row 1 first; the tie of 1 and 3 goes to the lower row
    assert best.score.tolist() == [[19, 15, 15], [5, 5, 1]]
    assert recommend(model, graph, [0], k=2, exclude_seen=False).video.tolist() == [[2, 1]]
    assert recommend(model, graph, [0], k=2, exclude=[1]).video.tolist() == [[3, 0]]
    few = recommend(model, graph, [0], k=3, candidates=[4, 2, 0, 4])
    assert few.video.tolist() == [[0, 4, -1]]  # 2 is seen
    assert few.score[0, 2] == -torch.inf
    assert recommend(model, graph, [0], k=9).video.tolist() == [[1, 3, 0, 4, -1, -1, -1, -1, -1]]
    assert recommend(model, graph, [], k=2).video.shape == (0, 2)


def test_recommend_refuses_rows_that_do_not_exist():
    graph, model = graph_of([(0, 0)], 2, 3), Fixed([1, 2, 3])
    with pytest.raises(IndexError, match=r"user rows must lie in \[0, 2\); got 2..2"):
        recommend(model, graph, [2])
    with pytest.raises(IndexError, match="candidate video"):
        recommend(model, graph, [0], candidates=[-1])
    with pytest.raises(ValueError, match="k must be at least 1"):
        recommend(model, graph, [0], k=0)


def test_score_block_masks_without_touching_the_models_own_table():
    class Whole(Fixed):
        def score(self, emb, users, videos=None):
            return self.preference.expand(len(users), -1)  # every row is the same memory

    model, graph = Whole([1, 2, 3]), graph_of([(1, 2)], 2, 3)
    scores = score_block(model, model.encode(graph), torch.tensor([0, 1]), graph.seen)
    assert scores.tolist() == [[1, 2, 3], [1, 2, -torch.inf]]
    assert model.preference.tolist() == [1, 2, 3]


def test_user_blocks_keep_every_user_and_bound_the_scores():
    users = torch.arange(1000)
    blocks = list(user_blocks(users, num_videos=2**20))
    assert torch.equal(torch.cat(blocks), users)
    assert max(map(len, blocks)) == 16
    assert [len(b) for b in user_blocks(users, 10, block_size=600)] == [600, 400]


def dataset(**changes) -> Dataset:
    frame = pl.DataFrame(
        {"user_id": ["ann", "ann", "bob", "bob"], "video_id": [10, 20, 10, 30], "timestamp": [1, 2, 3, 4]}
    )
    videos = pl.DataFrame({"video_id": [10, 20, 30], "title": ["one", "two", "three"]})
    return Dataset.from_frames(frame, videos=videos, **changes)


def test_recommend_ids_speaks_raw_ids_and_titles():
    data = dataset()
    graph = graph_of([(0, 0), (0, 1), (1, 0), (1, 2)], 2, 3)
    found = recommend_ids(Fixed([1, 2, 3]), graph, data, ["bob", "ann"], k=2)
    assert isinstance(found, Recommendations)
    assert found.to_frame().rows() == [("bob", 1, 20, "two", 12.0), ("ann", 1, 30, "three", 3.0)]
    assert found.to_frame().columns == ["user", "rank", "video", "title", "score"]
    assert len(recommend_ids(Fixed([1, 2, 3]), graph, data, ["ann"], exclude=["30"])) == 0
    with pytest.raises(UnknownIdError, match=r"unknown user 'anne'.*close to it: ann"):
        recommend_ids(Fixed([1, 2, 3]), graph, data, ["anne"])
    with pytest.raises(KeyError, match=r"unknown video 21.*20, 30, 10|unknown video 21.*20, 10, 30"):
        recommend_ids(Fixed([1, 2, 3]), graph, data, ["ann"], candidates=[21])


def test_find_rows_reads_numbers_written_as_text():
    assert find_rows(Vocabulary([7, 5, 9]), ["9", 7]).tolist() == [2, 0]
    with pytest.raises(KeyError, match=r"unknown id 'x' among 3.*for example: 7, 5, 9"):
        find_rows(Vocabulary([7, 5, 9]), ["x"])


def test_explain_counts_the_paths_and_measures_likeness():
    # target 3. user 0 watched 0, 1, 2. others: 1 watched 0, 3; 2 watched 0, 1, 3; 3 watched 1
    pairs = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 3), (2, 0), (2, 1), (2, 3), (3, 1)]
    graph = graph_of([*pairs, (1, 0)], 4, 4)  # a repeated pair is one path
    values = torch.tensor([[0.0, 5], [0, 2], [3, 3], [0, 1]])
    graph.modalities = ["visual", "audio"]
    absent = Features(values, torch.tensor([True, True, True, False]))
    partly = Features(values, torch.tensor([False, True, True, True]))
    graph.features = {"visual": partly, "audio": absent}.__getitem__
    why = explain(graph, 0, 3, k=3)
    assert isinstance(why, Explanation)
    co = [r for r in why.reasons if r.kind == "co-watched"]
    # through 0: users 1 and 2, 2 / sqrt(3 · 2); through 1: user 2, 1 / sqrt(3 · 2)
    assert [(r.video, r.count, r.users) for r in co] == [(0, 2, (1, 2)), (1, 1, (2,))]
    assert [r.strength for r in co] == pytest.approx([2 / 6**0.5, 1 / 6**0.5])
    look = [r for r in why.reasons if r.kind == "visual"]
    assert [r.video for r in look] == [1, 2]  # 0 has none
    assert [r.strength for r in look] == pytest.approx([1, 0.5**0.5])
    assert not [r for r in why.reasons if r.kind == "audio"]  # the target has none
    assert isinstance(co[0], Reason)
    values[2] = -values[2]
    graph.features = {"visual": Features(values, partly.present), "audio": absent}.__getitem__
    assert [r.video for r in explain(graph, 0, 3, k=3).reasons if r.kind == "visual"] == [1]  # opposite is not alike


def test_explain_is_empty_without_history_and_never_names_the_video_itself():
    graph = graph_of([(0, 0), (1, 0)], 3, 2)
    assert explain(graph, 2, 0).reasons == ()
    assert explain(graph, 0, 0).reasons == ()
    assert explain(graph, 0, 1).reasons == ()  # nobody else watched it
    with pytest.raises(IndexError):
        explain(graph, 0, 2)
    watched = graph_of([(0, 0), (0, 1), (1, 0), (1, 1)], 2, 2)
    assert [(r.video, r.count) for r in explain(watched, 0, 1).reasons] == [
        (0, 1)
    ]  # the user is no witness of their own


def test_explanation_reads_as_sentences():
    reasons = (Reason("co-watched", 0, 0.5, 1, (1,)), Reason("visual", 1, 0.25))
    lines = Explanation(0, 2, reasons).sentences(dataset())
    assert lines[0].startswith("1 person who watched 'one'")
    assert "alike in visual to 'two'" in lines[1]


def test_explain_runs_on_a_real_graph():
    frame = pl.DataFrame(
        {"user_id": [u for u in range(6) for _ in range(5)], "video_id": [v for _ in range(6) for v in range(5)]}
    )
    data = Dataset.from_frames(frame, features={"visual": torch.eye(5) + 0.1})
    graph = build_graph(random_split(data, seed=0))
    missing = sorted(set(range(5)) - set(graph.seen.dense()[0].nonzero().flatten().tolist()))
    reasons = explain(graph, 0, missing[0], k=1).reasons
    assert [r.kind for r in reasons] == ["co-watched", "visual"]
