"""From questions to lists: several at a time, in one state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmgraph.ops import TopK
from mmgraph.serve.index import as_lists
from mmgraph.serve.limits import nobody_as_stranger, shortened
from mmgraph.serve.profiles import Met
from mmgraph.serve.question import Answer, Question, UnknownColumn, UnknownId
from mmgraph.serve.state import State

Route = Callable[[int], str]
"""Videos that a user met -> a tier of :data:`mmgraph.serve.cascade.TIERS`."""

_NOBODY: NDArray[np.int64] = np.empty(0, np.int64)
_NOBODY.flags.writeable = False


@dataclass(slots=True)
class Asked:
    """A question on its way: who waits for the answer, and what was found so far.

    Attributes:
        question: what was asked.
        done: where the answer goes; :meth:`settle` puts it there.
        loop: the event loop that ``done`` belongs to; None for a future of threads.
        counted: whether it takes one of the places of those that may wait.
        outcome: the answer, or why there is none.
    """

    question: Question
    done: futures.Future[Answer] | asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop | None = None
    counted: bool = True
    outcome: Answer | Exception | None = None
    query: torch.Tensor | None = None
    exclude: NDArray[np.int64] = field(default_factory=lambda: _NOBODY)
    history: list[Met] | None = None
    allowed: torch.Tensor | None = None
    fallback: str | None = None
    user: int = -1
    rescored: bool = False

    def settle(self) -> None:
        """Hands the outcome to who waits, if anybody still does. In the thread of ``loop``, where there is one."""
        if self.done.done():
            return
        try:
            if isinstance(self.outcome, Exception):
                self.done.set_exception(self.outcome)
            elif self.outcome is not None:
                self.done.set_result(self.outcome)
        except (asyncio.InvalidStateError, futures.InvalidStateError):
            return  # given up at this moment


def answer(state: State, asked: Sequence[Asked], now: float, route: Route | None = None) -> None:
    """Finds the outcome of each question; those nobody waits for any more are passed over.

    Args:
        state: in which.
        asked: what; questions with the same filter are searched together.
        now: UTC seconds, the time of a history that brings no times.
        route: which way to answer a user who met so many videos; by default as well as the bundle can.
    """
    searched: dict[tuple[int, int], list[Asked]] = {}
    same_length = bool(state.constraint.quotas)  # a part of a list that meets quotas need not meet them
    for one in asked:
        if one.done.done():
            continue
        try:
            _prepare(state, one, now)
            _choose_tier(state, one, route)
            if one.query is None:
                one.outcome = _popular(state, one)
            elif one.question.candidates is not None:
                one.outcome = _chosen(state, one)
            else:
                searched.setdefault((id(one.allowed), same_length * one.question.k), []).append(one)
        except Exception as error:
            one.outcome = error
    for group in searched.values():
        try:
            _search(state, group)
        except Exception as error:
            for one in group:
                one.outcome = one.outcome or error


def _prepare(state: State, one: Asked, now: float) -> None:
    """Finds the rows of everything the question names."""
    question = one.question
    if question.filter:
        try:
            one.allowed = state.allowed(question.filter)
        except KeyError as error:
            raise UnknownColumn(str(error.args[0]), state.columns.names()) from None
    parts = []
    if question.exclude:
        parts.append(np.array([row for raw in question.exclude if (row := state.videos.find(raw)) >= 0], np.int64))
    if not question.popular:
        parts += _find_user(state, one, now)
    one.exclude = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else _NOBODY


def _choose_tier(state: State, one: Asked, route: Route | None) -> None:
    """Whether the list is the popular one, the index's, or re-scored by the model's own score of pairs.

    Only rows that were trained are re-scored, as the network reads them, and no list that meets quotas.
    """
    if one.query is None or one.question.candidates is not None:
        return
    tier = "rescored"
    if route is not None:
        tier = route(len(state.profiles.seen(one.user) if one.history is None else one.history))
    if tier == "popular":
        one.query, one.fallback = None, "cascade"
    trained = one.history is None and one.user not in state.profiles.rows
    one.rescored = tier == "rescored" and state.bundle.pair is not None and trained and not state.constraint.quotas


def _find_user(state: State, one: Asked, now: float) -> list[NDArray[np.int64]]:
    """The user, their row, or the row of the history given; the rows that they met."""
    question, parts = one.question, []
    user = -1 if question.user is None else state.users.find(question.user)
    one.user = user
    if user < 0 and question.history is None:
        if question.unknown_user == "error" and question.user is not None:
            raise UnknownId("user", question.user, state.users.close(question.user))
        one.fallback = "unknown user"
    if user >= 0:
        parts.append(state.profiles.seen(user))
    if question.history is not None:
        rows = [find_video(state, raw) for raw in question.history]
        one.history = [Met(row, now - len(rows) + at, "click") for at, row in enumerate(rows)]
        parts.append(np.array(rows, np.int64))
        one.query = state.profiles.of_history(one.history)
    elif user >= 0:
        one.query = state.profiles.of(user)
    if one.query is None and one.fallback is None:
        one.fallback = "nothing known"
    return parts


def _search(state: State, group: list[Asked]) -> None:
    k = max(one.question.k for one in group)
    if (pair := state.bundle.pair) is not None and any(one.rescored for one in group):
        k = max(k, pair.candidates)
    queries = [one.query for one in group if one.query is not None]
    users = [one.user for one in group]
    found = state.search(queries, k, [one.exclude for one in group], group[0].allowed, users)
    for one, pairs in zip(group, found, strict=True):
        if pair is not None and one.rescored and pairs:
            rows, scores = zip(*pairs, strict=True)
            best = TopK(torch.tensor([scores]), torch.tensor([rows]))
            pairs = as_lists(pair.best(torch.tensor([one.user]), best, len(pairs)))[0]
        one.outcome = listed(state, one, pairs[: one.question.k])


def _chosen(state: State, one: Asked) -> Answer:
    """The best of a given set of candidates."""
    assert one.query is not None
    rows = np.unique([row for raw in one.question.candidates or () if (row := state.videos.find(raw)) >= 0])
    rows = np.setdiff1d(rows.astype(np.int64), one.exclude)
    if one.allowed is not None:
        rows = rows[one.allowed.numpy()[rows]]
    if not len(rows):
        return listed(state, one, [])
    scores = state.scores(one.query, rows).numpy()
    order = np.lexsort((rows, -scores))
    pairs = [(int(rows[at]), float(scores[at])) for at in order if scores[at] > -np.inf]
    return listed(state, one, _permitted(state, one, pairs))


def _popular(state: State, one: Asked) -> Answer:
    question, allowed = one.question, one.allowed
    if question.candidates is not None:
        rows = [row for raw in question.candidates if (row := state.videos.find(raw)) >= 0]
        mask = torch.zeros(len(state.index), dtype=torch.bool)
        mask[rows] = True
        allowed = mask if allowed is None else mask & allowed
    constraint = state.constraint
    if constraint.per_user:
        mine = constraint.mask(nobody_as_stranger([one.user]))[0]
        allowed = mine if allowed is None else mine & allowed
    found = state.popular(len(state.index) if constraint.quotas else question.k, one.exclude, allowed)
    pairs = [(row, float(state.popularity.weight[row])) for row in found.tolist()]
    return listed(state, one, _permitted(state, one, pairs), popular=True)


def _permitted(state: State, one: Asked, pairs: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The list of k under the constraint, of all that it may be made of, best first."""
    constraint, k = shortened(state.constraint, one.question.k), one.question.k
    if constraint.per_user and pairs:
        good = constraint.permits(int(nobody_as_stranger([one.user])[0]), torch.tensor([row for row, _ in pairs]))
        pairs = [pair for pair, fits in zip(pairs, good.tolist(), strict=True) if fits]
    if not constraint.quotas:
        return list(pairs[:k])

    def best(columns: torch.Tensor | None, n: int) -> TopK:
        some = [pair for pair in pairs if columns is None or columns[pair[0]]][:n]
        some += [(-1, -np.inf)] * (n - len(some))
        return TopK(torch.tensor([[score for _, score in some]]), torch.tensor([[row for row, _ in some]]))

    return as_lists(constraint.fill(k, best))[0]


def late(state: State, question: Question, reason: str = "late") -> Answer:
    """The popular list, made of what another thread may be changing: for when the answer would come too late."""
    user = -1 if question.user is None else state.users.find(question.user)
    barred = set(state.profiles.seen(user).tolist()) if user >= 0 else set()
    barred |= {state.videos.find(raw) for raw in (*question.exclude, *(question.history or ()))}
    only = None if question.candidates is None else {state.videos.find(raw) for raw in question.candidates}
    rows = [row for row in state.popularity.published.tolist() if row not in barred and (only is None or row in only)]
    pairs = [(row, float(state.popularity.weight[row])) for row in rows if state.columns.fit(row, question.filter)]
    one = Asked(question, futures.Future(), fallback=reason, user=user)
    return listed(state, one, _permitted(state, one, pairs), popular=True)


def listed(state: State, one: Asked, pairs: list[tuple[int, float]], popular: bool = False) -> Answer:
    """The list in raw ids. The last gate: whatever found a video, one that is barred does not leave."""
    raw, trained = state.videos.raw, state.trained
    good = state.constraint.opens([row for row, _ in pairs])
    if not all(good):
        pairs = [pair for pair, fits in zip(pairs, good, strict=True) if fits]
    items: list[dict[str, Any]]
    if popular:
        items = [{"video": raw[row], "score": score, "source": "popular"} for row, score in pairs]
    else:
        items = [
            {"video": raw[row], "score": score, "source": "model" if row < trained else "new"} for row, score in pairs
        ]
    if state.columns.titled:
        for item, (row, _) in zip(items, pairs, strict=True):
            if (title := state.columns.of(row, "title")) is not None:
                item["title"] = title
    if one.question.explain:
        history = one.history if one.history is not None else state.profiles.history(one.user) if one.user >= 0 else []
        explain(state, items, [row for row, _ in pairs], history)
    return Answer(one.question.user, items, meta(state, one.fallback, one.user))


def meta(state: State, fallback: str | None, user: int = -1) -> dict[str, Any]:
    """What an answer says about itself."""
    return {
        "bundle": state.bundle.id,
        "seq": state.seq,
        "popularity_at": state.popularity.published_at,
        "profile": "none" if user < 0 else "events" if user in state.profiles.rows else "trained",
        "fallback": fallback,
    }


def find_video(state: State, raw: str) -> int:
    """The row of a video that may be shown.

    Raises:
        UnknownId: there is none, or it is hidden; close ids are never hidden ones.
    """
    row = state.videos.find(raw)
    if row < 0 or state.barred(row):
        out = [state.videos.raw[r] for group in (state.hidden, state.deleted, state.nameless) for r in group]
        raise UnknownId("video", raw, state.videos.close(raw, out))
    return row


def explain(state: State, items: list[dict[str, Any]], rows: list[int], history: list[Met], last: int = 100) -> None:
    """Adds ``because`` to each item: the clicked video that it is most like and how much, and the columns they share.

    Likeness is the cosine of the rows that the list was made with, or what a click on the one adds to the score of the
    other in a linear model. None where no click says anything. A barred video is no reason.
    """
    clicked = [m.video for m in reversed(history) if not state.barred(m.video) and m.video not in state.rowless]
    clicked = [row for row in dict.fromkeys(clicked) if not state.linear or row < state.trained][:last]
    for item, row in zip(items, rows, strict=True):
        item["because"] = None
        if item["source"] == "popular" or not clicked or (state.linear and row >= state.trained):
            continue
        near = state.likeness(row, clicked)
        best = int(near.argmax())
        if float(near[best]) <= 0:  # what points the other way is no likeness
            continue
        through = clicked[best]
        because: dict[str, Any] = {"video": state.videos.raw[through], "likeness": round(float(near[best]), 4)}
        if (title := state.columns.of(through, "title")) is not None:
            because["title"] = title
        if shared := state.columns.shared(row, through):
            because["shared"] = shared
        item["because"] = because
