"""Handlers of what is asked: lists, neighbours, scores."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import TypeAdapter

from mmgraph.serve import schema
from mmgraph.serve.answering import find_video, meta
from mmgraph.serve.http import MIB, Problem, Request, Response, Route, json_response
from mmgraph.serve.query import EXPLAIN, FILTER, K, filter_of, flag, identity, query, whole
from mmgraph.serve.question import Question, UnknownColumn, UnknownId
from mmgraph.serve.routes import ASK, BODY, JSON, LIST, ok, ref
from mmgraph.serve.state import State

if TYPE_CHECKING:
    from mmgraph.serve.app import App

_RECOMMEND, _RECOMMEND_MANY = TypeAdapter(schema.Recommend), TypeAdapter(schema.RecommendMany)
_SCORE = TypeAdapter(schema.Score)


async def _recommend(app: App, request: Request) -> Response:
    began = time.perf_counter()
    body = schema.parse(_RECOMMEND, request.body)
    if body.min_seq > app.engine.state.seq:
        await _reach(app, body.min_seq)
    question = Question(
        *(body.user, body.k, body.history, body.exclude, body.candidates, body.filter, body.explain),
        unknown_user=app.unknown_user,
        popular=body.user is None and body.history is None,
    )
    return json_response(app.body(await app.desk.ask(question), began))


async def _reach(app: App, seq: int) -> None:
    if seq > app.log.last():
        raise Problem("ahead", f"min_seq is {seq}, the log is at {app.log.last()}")
    await app.desk.applied(seq)


async def _recommend_user(app: App, request: Request) -> Response:
    began = time.perf_counter()
    user, values = identity(request, "user"), query(request, "k", "explain", "filter")
    k, explain = whole(values, "k", 20, 1, schema.MAX_K), flag(values, "explain")
    question = Question(user, k, filter=filter_of(values), explain=explain, unknown_user=app.unknown_user)
    return json_response(app.body(await app.desk.ask(question), began))


async def _recommend_many(app: App, request: Request) -> Response:
    began = time.perf_counter()
    body = schema.parse(_RECOMMEND_MANY, request.body)
    questions = [
        Question(user, body.k, filter=body.filter, explain=body.explain, unknown_user=app.unknown_user)
        for user in body.users
    ]
    answers = await app.desk.ask_all(questions)
    return json_response({"answers": [app.body(answer, began) for answer in answers]})


async def _similar(app: App, request: Request) -> Response:
    began = time.perf_counter()
    raw, values = identity(request, "video"), query(request, "k", "filter")
    k, wanted = whole(values, "k", 20, 1, schema.MAX_K), filter_of(values)

    def look(state: State) -> dict[str, Any]:
        row = find_video(state, raw)
        try:
            allowed = state.allowed(wanted)
        except KeyError as error:
            raise UnknownColumn(str(error.args[0]), state.columns.names()) from None
        if row in state.rowless:
            raise UnknownId("video", raw)
        found = state.similar(row, k, allowed)
        items = [_item(state, video, score) for video, score in found if not state.barred(video)]
        return {"video": raw, "items": items, "meta": meta(state, None)}

    out = await app.desk.look(look)
    out["meta"]["took_ms"] = round(1000 * (time.perf_counter() - began), 3)
    return json_response(out)


def _item(state: State, row: int, score: float) -> dict[str, Any]:
    source = "model" if row < state.trained else "new"
    out: dict[str, Any] = {"video": state.videos.raw[row], "score": score, "source": source}
    if (title := state.columns.of(row, "title")) is not None:
        out["title"] = title
    return out


async def _popular(app: App, request: Request) -> Response:
    began = time.perf_counter()
    values = query(request, "k", "filter")
    k, wanted = whole(values, "k", 20, 1, schema.MAX_K), filter_of(values)
    found = await app.desk.ask(Question(None, k, filter=wanted, popular=True))
    return json_response(app.body(found, began))


async def _scores(app: App, request: Request) -> Response:
    began = time.perf_counter()
    body = schema.parse(_SCORE, request.body)

    def look(state: State) -> dict[str, Any]:
        user = state.users.find(body.user)
        if user < 0:
            raise UnknownId("user", body.user, state.users.close(body.user))
        query = state.profiles.of(user)
        rows = np.array([state.videos.find(raw) for raw in body.videos], np.int64)
        scores: list[float | None] = [None] * len(rows)
        known = np.flatnonzero(rows >= 0)
        if query is not None and len(known):
            found = state.scores(query, rows[known])
            finite = torch.isfinite(found)
            if state.constraint.per_user:
                finite &= state.constraint.permits(user, torch.from_numpy(rows[known]))
            for at, value, good in zip(known.tolist(), found.tolist(), finite.tolist(), strict=True):
                scores[at] = value if good else None
        return {"user": body.user, "scores": scores, "meta": meta(state, None, user)}

    out = await app.desk.look(look)
    out["meta"]["took_ms"] = round(1000 * (time.perf_counter() - began), 3)
    return json_response(out)


ASKING: list[Route] = [
    Route(
        *("POST", "/v1/recommendations", _recommend, "read", "Recommend to one user or for a history"),
        *(
            ok(schema.Recommended),
            (*BODY, *ASK, "unknown-id", "unknown-column", "ahead"),
            (),
            {JSON: ref(schema.Recommend)},
            4 * MIB,
        ),
    ),
    Route(
        *("GET", "/v1/recommendations/{user}", _recommend_user, "read", "Recommend to one user"),
        *(ok(schema.Recommended), LIST, (K, EXPLAIN, FILTER)),
    ),
    Route(
        *("POST", "/v1/recommendations:batch", _recommend_many, "read", "Recommend to several users"),
        *(
            ok(schema.RecommendedMany),
            (*BODY, *ASK, "unknown-id", "unknown-column"),
            (),
            {JSON: ref(schema.RecommendMany)},
        ),
    ),
    Route(
        *("GET", "/v1/videos/{video}/similar", _similar, "read", "Videos like one"),
        *(ok(schema.Similar), LIST, (K, FILTER)),
    ),
    Route(
        *("GET", "/v1/popular", _popular, "read", "The most popular videos, lately"),
        *(ok(schema.Recommended), (*ASK, "unknown-column"), (K, FILTER)),
    ),
    Route(
        *("POST", "/v1/scores", _scores, "read", "Scores of given videos"),
        *(ok(schema.Scored), (*BODY, *ASK, "unknown-id"), (), {JSON: ref(schema.Score)}, 4 * MIB),
    ),
]
