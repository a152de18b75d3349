"""Top-k with filters, raw ids, and explanations, on worlds small enough to work out by hand."""

from __future__ import annotations

import io
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from rich.console import Console

from mmgraph.data import Dataset, Features, UnknownIdError, Vocabulary, random_split
from mmgraph.data.errors import DataError
from mmgraph.graph import MultimodalGraph, build_graph
from mmgraph.models import BPRMF, EASE, Embeddings, People, Popularity, Recommender
from mmgraph.ops import CSR, TopKIndex
from mmgraph.recommend import (
    Audience,
    Constraint,
    Explanation,
    Fidelity,
    Lists,
    Quota,
    Reason,
    Recommendations,
    Released,
    add_videos,
    audience,
    audience_ids,
    constraint_of,
    deletion_fidelity,
    explain,
    explain_by_model,
    find_rows,
    plain_text,
    predict,
    ranking_factors,
    recommend,
    recommend_ids,
    require_fitted,
    score_block,
    score_given,
    scores_without,
    similar,
    similar_ids,
    to_pandas,
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
    with pytest.raises(ValueError, match="users"):
        recommend(model, graph, [2])
    with pytest.raises(TypeError, match="users"):
        recommend(model, graph, [0.5])
    with pytest.raises(ValueError, match="candidates"):
        recommend(model, graph, [0], candidates=[-1])
    with pytest.raises(ValueError, match="k must be from 1"):
        recommend(model, graph, [0], k=0)
    with pytest.raises(ValueError, match="k must be from 1"):
        recommend(model, graph, [0], k=10**9)
    with pytest.raises(ValueError, match="either users"):
        recommend(model, graph)


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
    assert found.to_frame().rows() == [("bob", 1, 20, "two", 12.0, None), ("ann", 1, 30, "three", 3.0, None)]
    assert found.to_frame().columns == ["user", "rank", "video", "title", "score", "fallback"]
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
    with pytest.raises(ValueError, match="video"):
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


def test_a_user_without_an_edge_gets_the_popular_list_and_it_is_said():
    graph = graph_of([(0, 2), (0, 1), (1, 2)], 3, 4)
    model = Fixed([9, 1, 1, 5])
    found = recommend(model, graph, [2, 1], k=2)
    assert isinstance(found, Lists)
    assert found.video.tolist() == [[2, 1], [0, 3]]  # two users watched 2, one 1
    assert found.score.tolist() == [[2, 1], [19, 15]]
    assert found.fallback == ("popular", None)
    assert recommend(model, graph, [2], k=1, unknown_user="model").video.tolist() == [[0]]
    assert recommend(model, graph, [2], k=2, exclude=[2]).video.tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="user row 2 has no interaction"):
        recommend(model, graph, [1, 2], unknown_user="error")
    with pytest.raises(ValueError, match="use 'popular', 'model' or 'error'"):
        recommend(model, graph, [1], unknown_user="guess")
    data = Dataset.from_frames(
        {"user_id": ["ann", "ann", "bob"], "video_id": [30, 20, 30]},
        users={"user_id": ["ann", "bob", "cyd"]},
        videos={"video_id": [10, 20, 30, 40]},
    )
    frame = recommend_ids(model, graph, data, ["cyd", "bob"], k=1).to_frame()
    assert frame.select("user", "video", "fallback").rows() == [("cyd", 30, "popular"), ("bob", 10, None)]


def test_a_model_that_reads_user_features_ranks_users_without_an_edge():
    class ByProfile(Fixed):
        reads_user_features = True

    graph = build_graph(random_split(dataset_with_users(), seed=0))
    assert recommend(ByProfile([1, 2, 3]), graph, [2], k=1).fallback == ("profile",)
    assert recommend(Fixed([1, 2, 3]), graph, [2], k=1).fallback == ("popular",)
    assert audience(ByProfile([1, 2, 3]), graph, [0], k=3, exclude_seen=False).user.tolist() == [[2, 1, 0]]
    assert audience(Fixed([1, 2, 3]), graph, [0], k=3, exclude_seen=False).user.tolist() == [[1, 0, -1]]


def dataset_with_users() -> Dataset:
    frame = {"user_id": ["a", "a", "a", "b", "b", "b"], "video_id": [10, 20, 30] * 2}
    return Dataset.from_frames(frame, users={"user_id": ["a", "b", "c"]}, user_features=torch.eye(3))


def test_dot_products_are_ranked_by_the_op_as_the_scores_are():
    generator = torch.Generator().manual_seed(0)
    graph = graph_of([(u, (3 * u + i) % 40) for u in range(20) for i in range(4)], 20, 40)

    class Vectors(Recommender):
        def __init__(self):
            super().__init__()
            self.rows = Embeddings(*(torch.randn(n, 5, generator=generator) for n in (20, 40)))

        def encode(self, graph, rows=None):
            return self.rows

    class Copies(Vectors):
        def score(self, emb, users, videos=None):
            return super().score(emb, users, videos)

    fast, slow = Vectors(), Copies()
    slow.rows = fast.rows
    assert ranking_factors(fast, fast.rows) is not None
    assert ranking_factors(slow, slow.rows) is None
    even, index = torch.arange(40) % 2 == 0, TopKIndex(fast.rows.video)
    for limits in (None, Constraint(40).block([0, 1, 2]), Constraint(40, quotas=(Quota(even, 1, 2),))):
        for options in ({}, {"candidates": range(30)}, {"exclude_seen": False}):
            ours, truth = (recommend(m, graph, range(20), 6, constraint=limits, **options) for m in (fast, slow))
            assert torch.equal(ours.video, truth.video)
            assert torch.allclose(ours.score, truth.score, atol=1e-6)
            kept = recommend(fast, graph, range(20), 6, constraint=limits, index=index, **options)
            assert torch.equal(kept.video, truth.video)
    index.hide(torch.tensor([int(truth.video[0, 0])]))
    assert int(truth.video[0, 0]) not in recommend(fast, graph, [0], 6, index=index, exclude_seen=False).video
    by_rule = Constraint(40, rules=(Released(torch.arange(40.0, dtype=torch.float64), now=10.0),))
    assert recommend(fast, graph, range(20), 20, constraint=by_rule, index=index).video.max() <= 10
    with pytest.raises(ValueError, match=r"an index over \[3, 5\]"):
        recommend(fast, graph, [0], index=TopKIndex(torch.rand(3, 5)))
    with pytest.raises(ValueError, match="does not rank as Copies does"):
        recommend(slow, graph, [0], index=index)


def test_people_who_came_later_are_ranked_by_what_they_clicked():
    class Folding(Fixed):
        def fold_in(self, graph, people):
            n = len(people.clicks.indptr) - 1
            return Embeddings(torch.arange(n)[:, None].float(), torch.zeros(graph.num_videos, 1))

    graph = graph_of([(0, 2), (1, 0)], 2, 4)
    clicks = CSR.from_edges(torch.tensor([0, 0]), torch.tensor([0, 3]), (2, 4))
    people = People(clicks=clicks)
    found = recommend(Folding([4, 3, 2, 1]), graph, people=people, k=2)
    assert found.video.tolist() == [[1, 2], [0, 2]]  # the second is unknown: the popular list
    assert found.fallback == (None, "popular")


def test_predict_scores_pairs():
    graph, model = graph_of([(0, 0)], 2, 3), Fixed([1, 2, 3])
    assert predict(model, graph, [1, 0], [2, 0]).tolist() == [13, 1]
    with pytest.raises(ValueError, match="give pairs"):
        predict(model, graph, [1, 0], [2])
    assert score_given(model, model.encode(graph), torch.tensor([1]), torch.tensor([[2, 0]])).tolist() == [[13, 11]]
    bad = Fixed([1, 2, float("nan")])
    with pytest.raises(ValueError, match="user row 0 and video row 2"):
        score_given(bad, bad.encode(graph), torch.tensor([0]), torch.tensor([[0, 2]]))


def test_audience_ranks_people_for_a_video():
    graph = graph_of([(0, 1), (1, 0), (3, 1)], 4, 2)
    model = Fixed([1, 2])  # scores 10 · user + preference
    found = audience(model, graph, [1, 0], k=2)
    assert isinstance(found, Audience)
    assert found.user.tolist() == [[1, -1], [3, 0]]  # user 2 has no edge; 0 and 3 have seen video 1
    assert found.score.tolist() == [[12, -torch.inf], [31, 1]]
    assert audience(model, graph, [1], k=3, exclude_seen=False).user.tolist() == [[3, 1, 0]]
    data = Dataset.from_frames({"user_id": ["a", "b", "d"], "video_id": [20, 10, 20]}, users={"user_id": list("abcd")})
    frame = audience_ids(model, graph, data, [10], k=1).to_frame()
    assert frame.select("video", "rank", "user").rows() == [(10, 1, "d")]


def test_similar_compares_rows_or_features():
    class Rows(Fixed):
        def encode(self, graph, rows=None):
            return Embeddings(torch.zeros(2, 2), torch.tensor([[1.0, 0], [10, 1], [0, 1]]))

    graph = graph_of([(0, 0)], 2, 3)
    graph.features = {
        "visual": Features(torch.tensor([[1.0, 0], [0, 1], [0, 2]]), torch.tensor([True, True, True])),
        "audio": Features(torch.tensor([[1.0, 0], [0, 1], [0, 2]]), torch.tensor([True, False, True])),
    }.__getitem__
    found = similar(Rows([0, 0, 0]), graph, [0, 2], k=2)
    assert found.video.tolist() == [[1, 2], [1, 0]]
    assert found.score[0, 0] == pytest.approx(10 / 101**0.5)
    assert similar(None, graph, [1], k=1, modality="visual").video.tolist() == [[2]]
    assert similar(None, graph, [1, 0], k=2, modality="audio").video.tolist() == [[-1, -1], [2, -1]]
    with pytest.raises(ValueError, match="a model, or the modality"):
        similar(None, graph, [1])
    frame = similar_ids(Rows([0, 0, 0]), graph, dataset(), ["10"], k=1).to_frame()
    assert frame.select("to", "video", "title").rows() == [(10, 20, "two")]


def test_new_videos_come_with_ids_titles_and_features():
    frame = {"user_id": [u for u in range(6) for _ in range(5)], "video_id": [v for _ in range(6) for v in range(5)]}
    videos = {"video_id": list(range(5)), "title": list("abcde")}
    data = Dataset.from_frames(frame, videos=videos, features={"visual": torch.eye(5) + 0.1})
    graph = build_graph(random_split(data, seed=0))
    grown, known = add_videos(
        graph, data, {"video_id": [77], "title": ["new"]}, {"visual": torch.tensor([[1.1, 0.1, 0.1, 0.1, 0.2]])}
    )
    assert (grown.num_videos, known.num_videos, graph.num_videos) == (6, 6, 5)
    assert similar_ids(None, grown, known, [77], k=1, modality="visual").to_frame()["video"].to_list() == [0]
    assert recommend_ids(Fixed([0, 0, 0, 0, 0, 9]), grown, known, [0], k=1).to_frame()["title"].to_list() == ["new"]
    old = Fixed([1, 2, 3, 4, 5])
    old.encode = lambda graph, rows=None: Embeddings(torch.zeros(6, 1), torch.zeros(5, 1))
    with pytest.raises(ValueError, match="embeds new videos from their content"):
        recommend(old, grown, [0])
    with pytest.raises(DataError, match="video 3 is known already"):
        add_videos(graph, data, {"video_id": [3]})
    with pytest.raises(DataError, match="2 feature rows for 1 videos"):
        add_videos(graph, data, {"video_id": [8]}, {"visual": torch.zeros(2, 5)})


def test_constraints_from_raw_ids_know_every_id_they_name():
    limits = constraint_of(dataset(), allowed=[10, "20"], blocked=[20])
    assert limits.columns.tolist() == [True, False, False]
    with pytest.raises(UnknownIdError, match="unknown blocked video 21"):
        constraint_of(dataset(), blocked=[21])


def test_titles_are_shown_as_they_are():
    videos = pl.DataFrame({"video_id": [10, 20, 30], "title": ["[/red] [bold]", "<b>\x1b[31mred", "three"]})
    frame = {"user_id": ["ann", "bob"], "video_id": [30, 30]}
    data = Dataset.from_frames(frame, users={"user_id": ["ann", "bob"]}, videos=videos)
    found = recommend_ids(Fixed([3, 2, 1]), graph_of([(0, 2), (1, 2)], 2, 3), data, ["ann"], k=2)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(found.rich("[/] ann"))
    text = console.export_text()
    assert "[/red] [bold]" in text
    assert "\x1b" not in text
    assert "&lt;b&gt;" in found._repr_html_()
    assert repr(found) == "Recommendations(2 rows: 1 users, 2 videos)"
    assert plain_text("a\x1b[0m\nb") == "a�[0m�b"
    assert found.to_pandas()["title"].to_list() == found.to_frame()["title"].to_list()
    assert list(to_pandas(pl.DataFrame({"a": [1], "b": ["x"]})).columns) == ["a", "b"]
    with pytest.raises(TypeError, match="not one text"):
        recommend_ids(Fixed([3, 2, 1]), graph_of([(0, 2)], 2, 3), data, "ann")


def test_an_unfitted_model_is_refused():
    graph = build_graph(random_split(dataset_with_users(), seed=0))
    model = Popularity(graph)
    with pytest.raises(ValueError, match="Popularity was not fitted"):
        recommend(model, graph, [0])
    with pytest.raises(ValueError, match="was not fitted"):
        require_fitted(model)
    model.solve(graph)
    assert recommend(model, graph, [0]).video.shape == (1, 10)


def test_what_a_models_score_hangs_on_is_found_by_deletion():
    # EASE on sets of videos watched together: 0-1-2 and 3-4-5; user 0 has one of each set and more
    sets = [(u, v) for u in range(2, 12) for v in ((0, 1, 2) if u % 2 else (3, 4, 5))]
    frame = pl.DataFrame([*sets, (0, 1), (0, 3), (1, 5)], schema=["user_id", "video_id"], orient="row")
    graph = graph_with_edges(frame, 12, 6)
    model = EASE(graph, reg=1.0)
    model.solve(graph)
    edges = graph["user", "interacts", "video"].edge_index.clone()
    why = explain_by_model(model, graph, 0, 2, k=2)
    assert [r.video for r in why.reasons] == [1]
    assert why.reasons[0].kind == "model"
    weight = float(model.weight[1, 2])
    assert why.reasons[0].strength == pytest.approx(weight)  # a linear model: exactly that video's share
    assert scores_without(model, graph, 0, 2, [torch.tensor([1])]).tolist() == pytest.approx(
        [float(model.weight[3, 2])]
    )
    assert torch.equal(edges, graph["user", "interacts", "video"].edge_index)
    folded = explain_by_model(model, graph, 0, 2, by="fold_in")
    assert folded.reasons[0].strength == pytest.approx(weight)  # EASE folds in exactly
    torch.manual_seed(0)
    rows = BPRMF(graph, embedding_dim=4)
    assert explain_by_model(rows, graph, 0, 2).reasons == ()  # its rows do not read the graph
    assert scores_without(rows, graph, 0, 2, [torch.tensor([1]), torch.tensor([3])], by="fold_in").unique().shape == (
        2,
    )
    with pytest.raises(ValueError, match="use 'graph' or 'fold_in'"):
        explain_by_model(model, graph, 0, 2, by="edges")
    assert "which you watched, its score were" in why.sentences(dataset6())[0]
    assert explain_by_model(model, graph, 0, 2, constraint=Constraint(6).block([1])).reasons == ()


def test_a_deletion_takes_one_users_edges_and_all_that_they_carry():
    class Edges(Fixed):
        def encode(self, graph, rows=None):
            store = graph["user", "interacts", "video"]
            left.append((store.edge_index.T.tolist(), store.time.tolist()))
            back.append(graph["video", "rev_interacts", "user"].edge_index.flip(0).T.tolist())
            return super().encode(graph)

    left, back = [], []
    frame = pl.DataFrame([(0, 1), (1, 1), (0, 2), (0, 1)], schema=["user_id", "video_id"], orient="row")
    scores_without(Edges([1, 2, 3]), graph_with_edges(frame, 2, 3), 0, 0, [torch.tensor([1])])
    assert left == [([[1, 1], [0, 2]], [1, 2])]
    assert back == [[[1, 1], [0, 2]]]


def test_explanations_are_truer_to_the_model_than_chance():
    sets = [(u, v) for u in range(2, 12) for v in ((0, 1, 2) if u % 2 else (3, 4, 5))]
    frame = pl.DataFrame([*sets, (0, 1), (0, 3), (1, 5), (1, 0)], schema=["user_id", "video_id"], orient="row")
    graph = graph_with_edges(frame, 13, 6)
    model = EASE(graph, reg=1.0)
    model.solve(graph)
    found = deletion_fidelity(model, graph, [0, 1, 12], [2, 4, 0], draws=40)
    assert isinstance(found, Fidelity)
    one, other = float(model.weight[1, 2]), float(model.weight[3, 2])
    assert found.explained[0] == pytest.approx(one)
    # one of two watched videos at random: between the two falls, near their mean
    assert min(one, other) < found.random[0] < max(one, other)
    assert found.random[0] == pytest.approx((one + other) / 2, abs=0.25 * abs(one - other))
    assert found.explained[2].isnan()  # no history
    assert found.gap > 0
    worst = deletion_fidelity(
        model, graph, [0, 1], [2, 4], lambda u, v: Explanation(u, v, (Reason("co-watched", 3 - 3 * u, 1.0),)), draws=40
    )
    assert worst.gap < 0
    assert "over 2 of 3 pairs" in repr(found)


def graph_with_edges(frame: pl.DataFrame, users: int, videos: int):
    graph = MultimodalGraph()
    graph["user"].num_nodes, graph["video"].num_nodes = users, videos
    edges = torch.tensor(frame.to_numpy().T.copy())
    graph["user", "interacts", "video"].edge_index = edges
    graph["user", "interacts", "video"].time = torch.arange(edges.shape[1]).double()
    graph["video", "rev_interacts", "user"].edge_index = edges.flip(0)
    return graph


def dataset6() -> Dataset:
    frame = {"user_id": [0] * 6, "video_id": list(range(6))}
    return Dataset.from_frames(frame, videos={"video_id": list(range(6)), "title": list("abcdef")})
