"""The application: what is at each address."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import torch
from pydantic import TypeAdapter

from mmgraph.bundle import BundleError
from mmgraph.serve import schema
from mmgraph.serve.engine import Answer, Busy, Engine, Question, UnknownColumn, UnknownId, Unready, find_video
from mmgraph.serve.http import MIB, Problem, Request, Response, Route, Router, json_response
from mmgraph.serve.keys import Keys, Rate
from mmgraph.serve.log import Event, EventError, LogError, LogFullError, SqliteLog, interaction
from mmgraph.serve.log.base import MAX_ID
from mmgraph.serve.log.events import identifier
from mmgraph.serve.metrics import Metrics, resident_bytes
from mmgraph.serve.openapi import document
from mmgraph.serve.state import State, pack

_LOGGER = logging.getLogger("mmgraph.serve")
DEADLINE = 0.1
_HOSTS = 100  # spellings of this machine's name that are remembered
_PATIENCE = 5.0  # seconds for what has no popular list to fall back to
_PAGE = {"": ("page.html", "text/html; charset=utf-8"), "page.css": ("page.css", "text/css; charset=utf-8")} | {
    "page.js": ("page.js", "text/javascript; charset=utf-8")
}
_SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_LOCAL = {"localhost", "127.0.0.1", "::1", "testserver"}

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class App:
    """An ASGI application over an engine.

    Args:
        engine: started by the application's lifespan, or before.
        log: where writes go.
        keys: who may do what.
        rate: how often.
        deadline: seconds after which a recommendation is the popular list.
        unknown_user: ``popular`` or ``error``.
        local: asked by programs of this machine alone: a ``Host`` of another name is refused, so that no web page can
            reach it through a name of its own.
    """

    def __init__(
        self,
        engine: Engine,
        log: SqliteLog,
        *,
        keys: Keys | None = None,
        rate: Rate | None = None,
        deadline: float = DEADLINE,
        unknown_user: str = "popular",
        local: bool = True,
    ) -> None:
        from mmgraph import __version__

        self.engine, self.log, self.deadline, self.unknown_user = engine, log, deadline, unknown_user
        self.keys, self.rate, self.local = keys or Keys(), rate or Rate(0), local
        self.metrics = Metrics()
        self.started = time.time()
        self.written = log.last()
        self.router = Router(ROUTES)
        self.openapi = orjson.dumps(document(ROUTES, __version__, secured=not self.keys.open))
        folder = resources.files("mmgraph.serve") / "page"
        self.page = {name: (folder / file).read_bytes() for name, (file, _) in _PAGE.items()}
        self._hosts: set[str] = set()
        self._starting: asyncio.Task | None = None
        self.fatal: Callable[[], Any] = lambda: None
        """Called when the engine cannot start."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the application's life."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        began = time.perf_counter()
        path, method = "(none)", scope["method"]
        try:
            request = Request(scope)
            route = self.router.find(request)
            path = route.path
            self._may(request, route)
            if route.body:
                await request.read(receive, route.limit)
                request.content_type(*route.body)
            response = await route.handler(self, request)
        except Problem as problem:
            response = problem.response()
        except Exception as error:
            response = self._translated(error)
        self.metrics.count(method, path, response.status, time.perf_counter() - began)
        headers = [(b"content-type", response.content_type.encode()), (b"content-length", b"%d" % len(response.body))]
        if response.status == 204:
            headers = []
        headers += [(name.encode(), value.encode()) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})

    def _may(self, request: Request, route: Route) -> None:
        if self.local and self.keys.open:
            host = request.header("host")
            if host not in self._hosts:
                if urlsplit(f"//{host}").hostname in _LOCAL and len(self._hosts) < _HOSTS:
                    self._hosts.add(host)
                elif urlsplit(f"//{host}").hostname not in _LOCAL:
                    raise Problem("origin", "without keys only localhost is answered; others need --api-key-file")
        origin = request.header("origin")
        if origin and request.method not in ("GET", "HEAD") and urlsplit(origin).netloc != request.header("host"):
            raise Problem("origin", "writes come from this server's own page or from programs, not from another site")
        self.keys.check(request, route.role)
        if route.role is not None:
            given = request.header("authorization") or request.header("x-api-key")
            client = request.scope.get("client")
            self.rate.take(given or (client[0] if client else ""))

    def _translated(self, error: Exception) -> Response:
        if isinstance(error, UnknownId):
            hint = f"; close to it: {', '.join(error.close)}" if error.close else ""
            return Problem("unknown-id", f"no {error.kind} {error.raw!r}{hint}", close=list(error.close)).response()
        if isinstance(error, UnknownColumn):
            detail = f"no video has a column {error.name!r}; there are {', '.join(error.names) or 'none'}"
            return Problem("unknown-column", detail).response()
        if isinstance(error, Busy):
            return Problem("busy", str(error), {"retry-after": "1"}).response()
        if isinstance(error, (Unready, TimeoutError)):
            return Problem("unready", str(error) or "no answer in time", {"retry-after": "1"}).response()
        if isinstance(error, LogFullError):
            return Problem("disk-full", "nothing was stored; answers go on. Make room and send it again").response()
        if isinstance(error, LogError):
            return Problem("log", "nothing was stored; answers go on. Send it again", {"retry-after": "1"}).response()
        name = uuid.uuid4().hex[:8]
        _LOGGER.error("error %s", name, exc_info=error)
        return Problem("bug", f"the server's log has it under {name}").response()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if not self.engine.ready:
                    self._starting = asyncio.create_task(self._start())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._starting is not None:
                    await self._starting
                await asyncio.to_thread(self.engine.close)
                await asyncio.to_thread(self.log.close)
                return await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        try:
            await asyncio.to_thread(self.engine.start)
        except Exception as error:
            self.engine.failed = f"{type(error).__name__}: {error}"
            _LOGGER.error("cannot start: %s", self.engine.failed)
            self.fatal()

    # -- asking ------------------------------------------------------------------------------------

    async def answer(self, question: Question, began: float) -> Response:
        """The answer to one question; the popular list, counted, when it comes too late."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self.engine.ask_soon(question, future)
        # half the price of asyncio.timeout, which cancels and catches
        timer = loop.call_later(self.deadline, _expire, future)
        try:
            answer = await future
        except TimeoutError:
            answer = self.engine.late(question)
        finally:
            timer.cancel()
        return json_response(self._body(answer, began))

    def _body(self, answer: Answer, began: float) -> dict[str, Any]:
        if answer.meta["fallback"] is not None:
            self.metrics.fallbacks[answer.meta["fallback"]] += 1
        answer.meta["took_ms"] = round(1000 * (time.perf_counter() - began), 3)
        return {"user": answer.user, "items": answer.items, "meta": answer.meta}

    async def look(self, function: Callable[[State], Any]) -> Any:
        """What a function says of the state, with everything folded in that was written before."""
        async with asyncio.timeout(_PATIENCE):
            return await asyncio.wrap_future(self.engine.call(function))

    async def write(self, events: Sequence[Event]) -> tuple[int, int, int]:
        """Appends and waits until it counts in answers: seq, accepted, duplicates."""
        done = await asyncio.wrap_future(self.log.submit(events))
        self.written = max(self.written, done.seq)
        async with asyncio.timeout(_PATIENCE):
            await asyncio.wrap_future(self.engine.applied(done.seq))
        return done.seq, done.accepted, done.duplicates


def _expire(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


# -- handlers: coroutines of the application and a request -----------------------------------------

_RECOMMEND, _RECOMMEND_MANY = TypeAdapter(schema.Recommend), TypeAdapter(schema.RecommendMany)
_EVENTS, _VIDEO, _VIDEOS = TypeAdapter(schema.Events), TypeAdapter(schema.VideoBody), TypeAdapter(schema.Videos)
_PATCH, _SCORE = TypeAdapter(schema.Patch), TypeAdapter(schema.Score)


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
    return await app.answer(question, began)


async def _reach(app: App, seq: int) -> None:
    if seq > app.log.last():
        raise Problem("ahead", f"min_seq is {seq}, the log is at {app.log.last()}")
    async with asyncio.timeout(_PATIENCE):
        await asyncio.wrap_future(app.engine.applied(seq))


async def _recommend_user(app: App, request: Request) -> Response:
    began = time.perf_counter()
    user, values = _identity(request, "user"), _query(request, "k", "explain", "filter")
    k, explain = _whole(values, "k", 20, 1, schema.MAX_K), _flag(values, "explain")
    question = Question(user, k, filter=_filter(values), explain=explain, unknown_user=app.unknown_user)
    return await app.answer(question, began)


async def _recommend_many(app: App, request: Request) -> Response:
    began = time.perf_counter()
    body = schema.parse(_RECOMMEND_MANY, request.body)
    questions = [
        Question(user, body.k, filter=body.filter, explain=body.explain, unknown_user=app.unknown_user)
        for user in body.users
    ]
    async with asyncio.timeout(_PATIENCE):
        answers = await asyncio.gather(*(asyncio.wrap_future(done) for done in app.engine.ask_all(questions)))
    return json_response({"answers": [app._body(answer, began) for answer in answers]})


async def _events(app: App, request: Request) -> Response:
    if request.content_type("application/json", "application/x-ndjson") == "application/json":
        bodies: list[Any] = schema.parse(_EVENTS, request.body).events
    else:
        bodies = _lines(request.body)
    now, state = time.time(), app.engine.state
    events: list[Event] = []
    rejected = []
    for index, body in enumerate(bodies):
        try:
            if isinstance(body, EventError):
                raise body
            event = interaction(body, now)
            row = state.videos.find(event.data["video"])
            if row < 0 or row in state.nameless:
                detail = f"no video {event.data['video']!r}; put it first"
                raise EventError("unknown-video", "/video", detail)
            events.append(event)
        except EventError as error:
            kind, pointer, detail = error.kind, error.pointer, error.detail
            rejected.append({"index": index, "type": kind, "pointer": pointer, "detail": detail})
    seq, accepted, duplicates = await app.write(events) if events else (app.engine.state.seq, 0, 0)
    for name, count in (("accepted", accepted), ("duplicate", duplicates), ("rejected", len(rejected))):
        app.metrics.events[name] += count
    return json_response({"accepted": accepted, "duplicates": duplicates, "rejected": rejected, "seq": seq}, status=202)


def _lines(body: bytes) -> list[Any]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not lines or len(lines) > schema.MAX_EVENTS:
        raise schema.fields([("", f"{len(lines)} lines; 1 to {schema.MAX_EVENTS:,} are taken")])
    out: list[Any] = []
    for line in lines:
        try:
            out.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            out.append(EventError("fields", "", f"the line is no JSON: {error}"))
    return out


def _described(app: App, raw: str, body: schema.VideoBody, key: str) -> Event:
    """The event of a description, its features checked against the bundle."""
    modalities = app.engine.state.bundle.manifest.modalities
    features = {}
    for name, given in body.features.items():
        if name not in modalities:
            known = ", ".join(f"{m} ({facts.dim})" for m, facts in modalities.items()) or "none"
            raise Problem("bundle-clash", f"features of {name!r}: the bundle reads {known}")
        values = _half(given, name) if isinstance(given, schema.Half) else np.array(given, np.float64)
        if len(values) != modalities[name].dim:
            wanted = modalities[name].dim
            raise Problem("bundle-clash", f"features of {name!r}: {len(values)} numbers, the bundle reads {wanted}")
        if not np.isfinite(values).all():
            raise Problem("bundle-clash", f"features of {name!r}: a number is not finite")
        features[name] = pack(values)
    columns: dict[str, Any] = dict(body.columns)
    if "id" in columns:
        raise Problem("bundle-clash", "a column cannot be called id: the id is the address")
    columns |= {name: value for name, value in (("title", body.title), ("tag", body.tags)) if value is not None}
    data: dict[str, Any] = {"video": raw}
    if columns:
        data["columns"] = columns
    if features:
        data["features"] = features
    if body.published is not None:
        data["published"] = body.published
    return Event(key, "video", time.time(), data)


def _half(given: schema.Half, name: str) -> np.ndarray:
    try:
        raw = base64.b64decode(given.f16_base64, validate=True)
        return np.frombuffer(raw, dtype="<f2").astype(np.float64)
    except (binascii.Error, ValueError):
        raise Problem("bundle-clash", f"features of {name!r}: no base64 of float16 numbers") from None


def _key(request: Request) -> str:
    """The event's id: the client's Idempotency-Key, so that the same request sent again changes nothing."""
    given = request.header("idempotency-key")
    if not given:
        return f"write:{uuid.uuid4().hex}"
    try:
        return f"write:{identifier({'id': given[:200]}, 'id')}"
    except EventError as error:
        raise schema.fields([("/Idempotency-Key", error.detail)]) from None


async def _put_video(app: App, request: Request) -> Response:
    raw = _identity(request, "video")
    body = schema.parse(_VIDEO, request.body)
    known = app.engine.state.videos.find(raw)
    fresh = known < 0 or app.engine.state.barred(known)
    seq, _, _ = await app.write([_described(app, raw, body, _key(request))])
    return json_response(await app.look(lambda state: _written(state, raw, seq)), status=201 if fresh else 200)


def _written(state: State, raw: str, seq: int) -> dict[str, Any]:
    row = state.videos.find(raw)
    note = None
    if row in state.rowless:
        known = list(state.bundle.manifest.modalities)
        note = f"without features ({', '.join(known)}) it is shown as popular only" if known else (
            "this bundle has no way from content to a row: it is shown as popular only"
        )  # fmt: skip
    elif row in state.hidden:
        note = "it is hidden"
    elif row < state.trained and row in state.columns:
        note = "the model was trained on it: its row stays, its columns are new"
    recommendable = row not in state.rowless and not state.barred(row)
    return {"seq": seq, "video": raw, "recommendable": recommendable, "note": note}


async def _post_videos(app: App, request: Request) -> Response:
    body = schema.parse(_VIDEOS, request.body)
    key = _key(request)
    events = [_described(app, video.video, video, f"{key}:{at}") for at, video in enumerate(body.videos)]
    seq, accepted, _ = await app.write(events)
    return json_response({"seq": seq, "written": accepted}, status=201)


async def _get_video(app: App, request: Request) -> Response:
    raw = _identity(request, "video")

    def look(state: State) -> dict[str, Any]:
        row = state.videos.find(raw)
        hidden = row in state.hidden and request.role != "read"
        if row < 0 or (state.barred(row) and not hidden) or row in state.deleted or row in state.nameless:
            find_video(state, raw)
        columns = {name: value for name in state.filterable() if (value := state.column(row, name)) is not None}
        out = {"video": raw, "columns": columns, "hidden": hidden, "popularity": float(state.popularity[row])}
        out["recommendable"] = row not in state.rowless and not hidden
        out["source"] = "trained" if row < state.trained else "new"
        return {**out, "title": columns.pop("title", None)}

    return json_response(await app.look(look))


async def _patch_video(app: App, request: Request) -> Response:
    raw = _identity(request, "video")
    body = schema.parse(_PATCH, request.body)
    await app.look(lambda state: _exists(state, raw))
    kind = "hide" if body.hidden else "show"
    seq, _, _ = await app.write([Event(_key(request), kind, time.time(), {"video": raw})])
    return json_response(await app.look(lambda state: _written(state, raw, seq)))


async def _delete_video(app: App, request: Request) -> Response:
    raw = _identity(request, "video")
    await app.look(lambda state: _exists(state, raw))
    await app.write([Event(_key(request), "delete", time.time(), {"video": raw})])
    return Response(204, b"")


def _exists(state: State, raw: str) -> int:
    """The row of a video, hidden or not."""
    row = state.videos.find(raw)
    if row < 0 or row in state.deleted or row in state.nameless:
        find_video(state, raw)
    return row


async def _similar(app: App, request: Request) -> Response:
    began = time.perf_counter()
    raw, values = _identity(request, "video"), _query(request, "k", "filter")
    k, wanted = _whole(values, "k", 20, 1, schema.MAX_K), _filter(values)

    def look(state: State) -> dict[str, Any]:
        row = find_video(state, raw)
        try:
            allowed = state.allowed(wanted)
        except KeyError as error:
            raise UnknownColumn(str(error.args[0]), state.filterable()) from None
        if row in state.rowless:
            raise UnknownId("video", raw)
        found = state.similar(row, k, allowed)
        pairs = zip(found.video[0].tolist(), found.score[0].tolist(), strict=True)
        items = [_item(state, video, score) for video, score in pairs if video >= 0 and not state.barred(video)]
        return {"video": raw, "items": items, "meta": app.engine.meta(state, None)}

    out = await app.look(look)
    out["meta"]["took_ms"] = round(1000 * (time.perf_counter() - began), 3)
    return json_response(out)


def _item(state: State, row: int, score: float) -> dict[str, Any]:
    source = "model" if row < state.trained else "new"
    out: dict[str, Any] = {"video": state.videos.raw[row], "score": score, "source": source}
    if (title := state.column(row, "title")) is not None:
        out["title"] = title
    return out


async def _popular(app: App, request: Request) -> Response:
    began = time.perf_counter()
    values = _query(request, "k", "filter")
    k, wanted = _whole(values, "k", 20, 1, schema.MAX_K), _filter(values)
    return await app.answer(Question(None, k, filter=wanted, popular=True), began)


async def _scores(app: App, request: Request) -> Response:
    began = time.perf_counter()
    body = schema.parse(_SCORE, request.body)

    def look(state: State) -> dict[str, Any]:
        user = state.users.find(body.user)
        if user < 0:
            raise UnknownId("user", body.user, state.users.close(body.user))
        query = state.profile(user)
        rows = np.array([state.videos.find(raw) for raw in body.videos], np.int64)
        scores: list[float | None] = [None] * len(rows)
        known = np.flatnonzero(rows >= 0)
        if query is not None and len(known):
            found = state.scores(query, rows[known])
            finite = torch.isfinite(found).tolist()
            for at, value, good in zip(known.tolist(), found.tolist(), finite, strict=True):
                scores[at] = value if good else None
        return {"user": body.user, "scores": scores, "meta": app.engine.meta(state, None, user)}

    out = await app.look(look)
    out["meta"]["took_ms"] = round(1000 * (time.perf_counter() - began), 3)
    return json_response(out)


async def _models(app: App, request: Request) -> Response:
    manifest = app.engine.state.bundle.manifest
    about = manifest.model_dump(mode="json", exclude={"files"})
    return json_response({"bundle": manifest.id, "manifest": about})


async def _reload(app: App, request: Request) -> Response:
    try:
        return json_response(await asyncio.to_thread(app.engine.reload))
    except Busy as error:
        raise Problem("conflict", str(error)) from None
    except (BundleError, ValueError) as error:
        raise Problem("bundle-clash", f"{error}. The old bundle goes on") from None


async def _live(app: App, request: Request) -> Response:
    return Response(200, b"alive\n", "text/plain; charset=utf-8")


async def _ready(app: App, request: Request) -> Response:
    if not app.engine.ready:
        raise Problem("unready", app.engine.failed or "the bundle is being read", {"retry-after": "1"})
    return Response(200, b"ready\n", "text/plain; charset=utf-8")


def _gauges(app: App) -> dict[str, float]:
    engine = app.engine
    state = engine.state
    last = app.log.last()
    return {
        "ready": float(engine.ready),
        "users": len(state.users),
        "videos": len(state.videos),
        "barred_videos": len(state.out),
        "log_seq": last,
        "state_seq": state.seq,
        "behind_entries": max(0, last - state.seq),
        "profiles_behind": len(state.dirty),
        "popularity_age_seconds": max(0.0, time.time() - state.published_at),
        "questions_waiting": engine.waiting,
        "questions_total": engine.questions,
        "batches_total": engine.batches,
        "reloads_total": engine.reloads,
        "log_failures_total": engine.log_failures,
        "resident_bytes": resident_bytes(),
        "uptime_seconds": time.time() - app.started,
    }


async def _metrics(app: App, request: Request) -> Response:
    gauges = _gauges(app) if app.engine.ready else {"ready": 0.0, "resident_bytes": resident_bytes()}
    return Response(200, app.metrics.text(gauges).encode(), "text/plain; version=0.0.4; charset=utf-8")


async def _status(app: App, request: Request) -> Response:
    from mmgraph import __version__

    state = app.engine.state
    gauges = _gauges(app)
    behind = gauges["behind_entries"]
    oldest = app.log.read(state.seq, 1) if behind else []
    seconds = max(0.0, time.time() - oldest[0].received) if oldest else 0.0
    about = {"bundle": state.bundle.id, "model": state.bundle.manifest.model, "version": __version__}
    return json_response({**about, "behind_seconds": seconds, **gauges, "fallbacks": dict(app.metrics.fallbacks)})


async def _openapi(app: App, request: Request) -> Response:
    return Response(200, app.openapi)


async def _page(app: App, request: Request) -> Response:
    name = request.segments[-1]
    return Response(200, app.page[name], _PAGE[name][1], _SAFE)


async def _search_users(app: App, request: Request) -> Response:
    """Some user ids that begin with a text, for the page."""
    values = _query(request, "prefix")
    prefix = values.get("prefix", "")
    if len(prefix) > MAX_ID:
        raise schema.fields([("/prefix", f"at most {MAX_ID} characters")])
    raw = app.engine.state.users.raw
    found = []
    for user in raw[:200_000]:
        if user.startswith(prefix):
            found.append(user)
            if len(found) == 20:
                break
    return json_response({"users": found})


# -- reading addresses -----------------------------------------------------------------------------


def _identity(request: Request, name: str) -> str:
    try:
        return identifier(request.parameters, name)
    except EventError as error:
        raise schema.fields([(error.pointer, error.detail)]) from None


def _query(request: Request, *known: str) -> dict[str, Any]:
    """The query's values; ``filter=column:value`` may come several times."""
    out: dict[str, Any] = {}
    for name, value in request.query():
        if name not in known:
            raise schema.fields([(f"/{name}", f"unknown; there is {', '.join(known)}")])
        if name == "filter":
            column, colon, wanted = value.partition(":")
            if not colon or not column or len(value) > 300:
                raise schema.fields([("/filter", "write column:value")])
            out.setdefault("filter", {}).setdefault(column, []).append(wanted)
        elif name in out:
            raise schema.fields([(f"/{name}", "given twice")])
        else:
            out[name] = value
    return out


def _filter(values: Mapping[str, Any]) -> dict[str, list[str]]:
    return values.get("filter", {})


def _whole(values: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise schema.fields([(f"/{name}", f"a whole number from {low} to {high}")])
    return int(text)


def _flag(values: Mapping[str, Any], name: str) -> bool:
    text = values.get(name, "false")
    if text not in ("true", "false"):
        raise schema.fields([(f"/{name}", "true or false")])
    return text == "true"


# -- the table of addresses ------------------------------------------------------------------------


def _ref(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _ok(model: type | None, text: str = "Done", status: int = 200) -> dict[int, tuple[str, str | None, Any]]:
    return {status: (text, "application/json", {"type": "object"} if model is None else _ref(model))}


def _text(kind: str = "text/plain") -> dict[int, tuple[str, str | None, Any]]:
    return {200: ("Done", kind, {"type": "string"})}


_K = {"name": "k", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": schema.MAX_K, "default": 20}}
_EXPLAIN = {"name": "explain", "in": "query", "schema": {"type": "boolean", "default": False}}
_FILTER = {
    "name": "filter",
    "in": "query",
    "description": "column:value; several times for several values or columns",
    "schema": {"type": "array", "items": {"type": "string", "pattern": r"^[^:]+:", "maxLength": 300}, "maxItems": 20},
    "style": "form",
    "explode": True,
}
_PREFIX = {"name": "prefix", "in": "query", "schema": {"type": "string", "maxLength": MAX_ID}}
_BODY = ("not-json", "slow-body", "too-large", "content-type", "fields")
_ASK = ("busy", "unready", "fields")
_LIST = (*_ASK, "unknown-id", "unknown-column")
_WRITE = ("busy", "unready", "log", "disk-full")
_JSON = "application/json"

ROUTES: list[Route] = [
    Route(
        *("POST", "/v1/recommendations", _recommend, "read", "Recommend to one user or for a history"),
        *(
            _ok(schema.Recommended),
            (*_BODY, *_ASK, "unknown-id", "unknown-column", "ahead"),
            (),
            {_JSON: _ref(schema.Recommend)},
            4 * MIB,
        ),
    ),
    Route(
        *("GET", "/v1/recommendations/{user}", _recommend_user, "read", "Recommend to one user"),
        *(_ok(schema.Recommended), _LIST, (_K, _EXPLAIN, _FILTER)),
    ),
    Route(
        *("POST", "/v1/recommendations:batch", _recommend_many, "read", "Recommend to several users"),
        *(
            _ok(schema.RecommendedMany),
            (*_BODY, *_ASK, "unknown-id", "unknown-column"),
            (),
            {_JSON: _ref(schema.RecommendMany)},
        ),
    ),
    Route(
        *("POST", "/v1/events", _events, "write", "Say what happened; it counts in the next answer"),
        *(_ok(schema.Taken, "Taken", 202), (*_BODY, *_WRITE), ()),
        {_JSON: _ref(schema.Events), "application/x-ndjson": {"type": "string", "description": "an event a line"}},
        16 * MIB,
    ),
    Route(
        *("PUT", "/v1/videos/{video}", _put_video, "write", "Describe a video; it can be recommended at once"),
        {**_ok(schema.Written, "Described anew"), **_ok(schema.Written, "New", 201)},
        *((*_BODY, *_WRITE, "bundle-clash"), (), {_JSON: _ref(schema.VideoBody)}),
    ),
    Route(
        *("POST", "/v1/videos", _post_videos, "write", "Describe several videos"),
        *(_ok(schema.WrittenMany, "Described", 201), (*_BODY, *_WRITE, "bundle-clash"), ()),
        *({_JSON: _ref(schema.Videos)}, 16 * MIB),
    ),
    Route(
        *("GET", "/v1/videos/{video}", _get_video, "read", "What is known of a video"),
        *(_ok(schema.Video), (*_ASK, "unknown-id")),
    ),
    Route(
        *("PATCH", "/v1/videos/{video}", _patch_video, "write", "Hide a video from every answer, or show it again"),
        *(_ok(schema.Written), (*_BODY, *_WRITE, "unknown-id"), (), {_JSON: _ref(schema.Patch)}),
    ),
    Route(
        *("DELETE", "/v1/videos/{video}", _delete_video, "write", "Delete a video; it is gone from the next answer"),
        *({204: ("Deleted", None, None)}, ("fields", *_WRITE, "unknown-id")),
    ),
    Route(
        *("GET", "/v1/videos/{video}/similar", _similar, "read", "Videos like one"),
        *(_ok(schema.Similar), _LIST, (_K, _FILTER)),
    ),
    Route(
        *("GET", "/v1/popular", _popular, "read", "The most popular videos, lately"),
        *(_ok(schema.Recommended), (*_ASK, "unknown-column"), (_K, _FILTER)),
    ),
    Route(
        *("POST", "/v1/scores", _scores, "read", "Scores of given videos"),
        *(_ok(schema.Scored), (*_BODY, *_ASK, "unknown-id"), (), {_JSON: _ref(schema.Score)}, 4 * MIB),
    ),
    Route("GET", "/v1/users", _search_users, "read", "Some user ids", _ok(None), ("fields", "unready"), (_PREFIX,)),
    Route("GET", "/v1/models", _models, "read", "The bundle's manifest", _ok(None), ("unready",)),
    Route(
        *("POST", "/v1/models:reload", _reload, "admin", "Read the bundle anew; answers go on meanwhile"),
        *(_ok(None), ("busy", "bundle-clash", "unready", "conflict")),
    ),
    Route("GET", "/v1/status", _status, "read", "How it is doing", _ok(None), ("unready",)),
    Route("GET", "/livez", _live, None, "Whether the process answers", _text()),
    Route("GET", "/readyz", _ready, None, "Whether it can recommend", _text(), ("unready",)),
    Route("GET", "/metrics", _metrics, "read", "Counters for Prometheus", _text()),
    Route("GET", "/openapi.json", _openapi, None, "This document", _ok(None)),
    Route("GET", "/", _page, None, "A page to try it", _text("text/html")),
    Route("GET", "/page.css", _page, None, "The page's looks", _text("text/css")),
    Route("GET", "/page.js", _page, None, "The page's program", _text("text/javascript")),
]
