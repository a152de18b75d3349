"""One constraint for everything a server says: blocked, seen, quotas, concepts."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgraph.bundle import Bundle, load
from mmgraph.constraint import Blocked, Constraint, Rule
from mmgraph.serve.answering import Asked, answer, late
from mmgraph.serve.features import pack
from mmgraph.serve.index import as_lists
from mmgraph.serve.limits import nobody_as_stranger, shortened
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.question import Answer, Question
from mmgraph.serve.rules import ColumnQuota, Concepts, ServerRules
from mmgraph.serve.server import ServeConfig
from mmgraph.serve.state import State


def lists(state: State, *questions: Question) -> list[list[str]]:
    asked = [Asked(question, Future()) for question in questions]
    answer(state, asked, now=1e9)
    out = []
    for one in asked:
        assert isinstance(one.outcome, Answer), one.outcome
        out.append(names(one.outcome))
    return out


def names(found: Answer) -> list[str]:
    return [item["video"] for item in found.items]


def test_the_constraint_says_what_the_index_hides_and_has_a_version(bundle: Bundle, log_path: Path):
    state = State(bundle)
    first = state.constraint
    assert first is state.constraint, "a value, kept until something changes"
    assert bool(first.columns.all())
    with SqliteLog(log_path) as log:
        log.append([Event("1", "hide", 1e9, {"video": "3"}), Event("2", "click", 1e9, {"user": "0", "video": "new"})])
        state.catch_up(log)
    second = state.constraint
    assert second.blocked.version > first.blocked.version
    assert second.blocked.rows == {3, 24}
    assert torch.equal(~second.columns, state.index.hidden)
    assert second.opens([2, 3, 24, 25, -1]) == [True, False, False, False, False], "what is no video is not open"
    assert state.barred(25)
    assert Constraint(4, blocked=Blocked(None)).opens([0, 3]) == [False, False], "unreadable: nothing is open"


def test_when_the_blocked_set_cannot_be_read_nothing_leaves(bundle: Bundle):
    state = State(bundle, lambda known, _: Constraint(known.num_videos, blocked=Blocked(None, known.blocked.version)))
    questions = [Question("0", 5), Question(None, 5, popular=True), Question("0", 5, candidates=["1", "2"])]
    assert lists(state, *questions) == [[], [], []]
    assert late(state, questions[0]).items == []


def greedy(videos: list[str], most_even: int, k: int) -> list[str]:
    """The best list with so many even videos at most, from one of everything."""
    even = [video for video in videos if not int(video) % 2]
    return [video for video in videos if video not in even[most_even:]][:k]


def test_quotas_hold_in_every_kind_of_list(bundle: Bundle):
    free, state = State(bundle), State(bundle, ServerRules((ColumnQuota.parse("tag:even<=2"),)))
    for question in (
        Question("1", 8),
        Question(None, 8, popular=True),
        Question("1", 8, candidates=[str(i) for i in range(24)]),
        Question("new", 8, history=["4"]),
        Question("nobody", 8),
    ):
        [everything], [found] = lists(free, replace(question, k=1000)), lists(state, question)
        assert found == greedy(everything, 2, 8)
        assert found != everything[:8], "else the quota asks for nothing"
    after, before = late(state, Question("1", 8)), late(free, Question("1", 1000))
    assert names(after) == greedy(names(before), 2, 8)
    several = [Question("1", 3), Question("1", 8), Question("3", 3)]
    assert lists(state, *several) == [lists(state, one)[0] for one in several]


def test_a_quota_from_below_and_a_list_that_is_too_short_for_it(bundle: Bundle):
    state = State(bundle, ServerRules((ColumnQuota.parse("tag:even>=3"), ColumnQuota.parse("tag:none<=1"))))
    fresh = {"history": ["3"]}
    [everything] = lists(State(bundle), Question("new", 1000, **fresh))
    even = [video for video in everything if not int(video) % 2]
    [five, two] = lists(state, Question("new", 5, **fresh), Question("new", 2, **fresh))
    assert sorted(five) == sorted([*even[:3], *(v for v in everything if v not in even)][:5])
    assert two == everything[:2]
    assert [quota.at_least for quota in shortened(state.constraint, 2).quotas] == [0, 0]
    assert shortened(state.constraint, 3) is state.constraint
    both = ServerRules((ColumnQuota("tag", "odd", at_most=1), ColumnQuota("title", "title 1", at_most=0)))
    quotas = State(bundle, both).constraint.quotas
    assert not bool((quotas[0].videos & quotas[1].videos).any()), "a video of two groups counts for the first"


def test_a_video_that_needs_a_concept_is_for_who_met_it(bundle: Bundle, log_path: Path, looks):
    state = State(bundle, ServerRules((), "needs", "teaches"))
    look = {name: pack(values) for name, values in looks["even"].items()}
    hard = {"needs": ["limits"], "teaches": ["integrals"]}
    with SqliteLog(log_path) as log:
        log.append([
            Event("1", "video", 1e9, {"video": "hard", "features": look, "columns": hard}),
            Event("2", "video", 1e9, {"video": "easy", "features": look, "columns": {"teaches": ["limits"]}}),
            Event("3", "video", 1e9, {"video": "own", "columns": {"needs": ["x"], "teaches": ["x"]}}),
        ])  # fmt: skip
        state.catch_up(log)
        everywhere = [
            Question("0", 1000), Question("0", 1000, candidates=["hard", "easy"]), Question("0", 1000, history=["2"]),
            Question("stranger", 1000), Question(None, 1000, popular=True),
        ]  # fmt: skip
        for found in lists(state, *everywhere):
            assert "hard" not in found
            assert "easy" in found
        assert "own" in lists(state, Question("stranger", 1000))[0], "what it teaches itself it does not need"
        log.append([Event("4", "skip", 1e9, {"user": "0", "video": "easy"})])
        state.catch_up(log)
        assert all("hard" in found for found in lists(state, *everywhere[:3]))
        assert "hard" not in lists(state, Question("1", 1000))[0]
    rule = Concepts(state, "needs", "teaches")
    row = state.videos.find("hard")
    assert rule.permits(torch.tensor([0, 1]), len(state.index))[:, row].tolist() == [True, False]
    assert not rule.permits(nobody_as_stranger([-1]), len(state.index))[0, row]
    assert "needs" in rule.digest()


def test_what_an_operator_writes_is_read_or_refused(bundle_folder: Path, log_path: Path):
    assert ColumnQuota.parse("tag:a:b<=3") == ColumnQuota("tag", "a:b", at_most=3)
    assert ColumnQuota.parse("tag:x>=1") == ColumnQuota("tag", "x", at_least=1)
    assert ColumnQuota("nothing", "x").group(State(load(bundle_folder))).sum() == 0
    for wrong in ("tag<=3", "tag:x", "tag:x<3", ":x<=1"):
        with pytest.raises(ValueError, match="a quota is"):
            ServeConfig(bundle_folder, log_path, quotas=(wrong,))
    with pytest.raises(ValueError, match="both columns"):
        ServerRules((), "needs", None)
    assert ServeConfig(bundle_folder, log_path).rules() is None
    found = ServeConfig(bundle_folder, log_path, quotas=("tag:x<=1",), concepts=("a", "b")).rules()
    assert found == ServerRules((ColumnQuota("tag", "x", at_most=1),), "a", "b")


def test_lists_from_tensors_leave_out_empty_places(bundle: Bundle):
    state = State(bundle)
    found = state.index.top(bundle.user[:2], 30, [np.arange(20), np.arange(0)])
    assert [len(line) for line in as_lists(found)] == [4, 24]


class OnlyAfter:
    """A rule of one's own: user rows below 5 get the first ten videos alone."""

    def permits(self, users: torch.Tensor, num_videos: int) -> torch.Tensor:
        return (users[:, None] >= 5) | (torch.arange(num_videos) < 10)

    def digest(self) -> str:
        return "only after"


def test_a_rule_of_ones_own_is_asked_for_each_user(bundle: Bundle):
    mine: Rule = OnlyAfter()
    state = State(bundle, lambda known, _: replace(known, rules=(mine,)))
    [young, old, popular] = lists(state, Question("0", 24), Question("6", 24), Question("1", 24, popular=True))
    assert young
    assert max(map(int, young)) < 10 < max(map(int, old))
    assert len(popular) == 24, "the popular list for nobody is a stranger's"
