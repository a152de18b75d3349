"""Handlers of what operators and the page look at."""

from __future__ import annotations

import asyncio
import time
from importlib import resources
from typing import TYPE_CHECKING

from mmgraph.bundle import BundleError
from mmgraph.serve import schema
from mmgraph.serve.http import Problem, Request, Response, Route, json_response
from mmgraph.serve.log.base import MAX_ID
from mmgraph.serve.media import kind_of
from mmgraph.serve.metrics import resident_bytes
from mmgraph.serve.query import PREFIX, query
from mmgraph.serve.question import Busy
from mmgraph.serve.routes import ok, text

if TYPE_CHECKING:
    from mmgraph.serve.app import App

_PAGE = {"": ("page.html", "text/html; charset=utf-8"), "page.css": ("page.css", "text/css; charset=utf-8")} | {
    "page.js": ("page.js", "text/javascript; charset=utf-8")
}
_SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def read_page() -> dict[str, bytes]:
    """The files of the page, by the name in their address."""
    folder = resources.files("mmgraph.serve") / "page"
    return {name: (folder / file).read_bytes() for name, (file, _) in _PAGE.items()}


async def _models(app: App, request: Request) -> Response:
    manifest = app.engine.state.bundle.manifest
    about = manifest.model_dump(mode="json", exclude={"files"})
    kinds = {name: kind_of((one.passport or {}).get("encoder")) for name, one in manifest.modalities.items()}
    reads = {name: kind for name, kind in kinds.items() if kind is not None and app.encodes}
    return json_response({"bundle": manifest.id, "manifest": about, "reads": reads})


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
        "barred_videos": len(state.constraint.blocked.rows or ()),
        "log_seq": last,
        "state_seq": state.seq,
        "behind_entries": max(0, last - state.seq),
        "profiles_behind": len(state.profiles.behind),
        "popularity_age_seconds": max(0.0, time.time() - state.popularity.published_at),
        "questions_waiting": engine.waiting,
        "questions_total": engine.questions,
        "batches_total": engine.batches,
        "reloads_total": engine.reloads,
        "log_failures_total": engine.log_failures,
        "index_recall": state.index.recall,
        "index_tail": state.index.tail,
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
    about = {
        "bundle": state.bundle.id,
        "model": state.bundle.manifest.model,
        "version": __version__,
        "index": state.index.kind,
    }
    return json_response({**about, "behind_seconds": seconds, **gauges, "fallbacks": dict(app.metrics.fallbacks)})


async def _openapi(app: App, request: Request) -> Response:
    return Response(200, app.openapi)


async def _page(app: App, request: Request) -> Response:
    name = request.segments[-1]
    return Response(200, app.page[name], _PAGE[name][1], _SAFE)


async def _search_users(app: App, request: Request) -> Response:
    """Some user ids that begin with a text, for the page."""
    values = query(request, "prefix")
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


WATCHING: list[Route] = [
    Route("GET", "/v1/users", _search_users, "read", "Some user ids", ok(None), ("fields", "unready"), (PREFIX,)),
    Route("GET", "/v1/models", _models, "read", "The bundle's manifest", ok(None), ("unready",)),
    Route(
        *("POST", "/v1/models:reload", _reload, "admin", "Read the bundle anew; answers go on meanwhile"),
        *(ok(None), ("busy", "bundle-clash", "unready", "conflict")),
    ),
    Route("GET", "/v1/status", _status, "read", "How it is doing", ok(None), ("unready",)),
    Route("GET", "/livez", _live, None, "Whether the process answers", text()),
    Route("GET", "/readyz", _ready, None, "Whether it can recommend", text(), ("unready",)),
    Route("GET", "/metrics", _metrics, "read", "Counters for Prometheus", text()),
    Route("GET", "/openapi.json", _openapi, None, "This document", ok(None)),
    Route("GET", "/", _page, None, "A page to try it", text("text/html")),
    Route("GET", "/page.css", _page, None, "The page's looks", text("text/css")),
    Route("GET", "/page.js", _page, None, "The page's program", text("text/javascript")),
]
