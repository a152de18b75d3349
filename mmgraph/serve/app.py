"""The application: who may ask, what answers, and what becomes of errors."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import orjson

from mmgraph.serve.asking import ASKING
from mmgraph.serve.desk import Desk
from mmgraph.serve.engine import Engine
from mmgraph.serve.http import Problem, Request, Response, Route, Router
from mmgraph.serve.keys import Keys, Rate
from mmgraph.serve.log import LogError, LogFullError, SqliteLog
from mmgraph.serve.media import MediaStore, media_folder
from mmgraph.serve.metrics import Metrics
from mmgraph.serve.openapi import document
from mmgraph.serve.question import Answer, Busy, UnknownColumn, UnknownId, Unready
from mmgraph.serve.watching import WATCHING, read_page
from mmgraph.serve.writing import WRITING

_LOGGER = logging.getLogger("mmgraph.serve")
DEADLINE = 0.1
ROUTES: list[Route] = [*ASKING, *WRITING, *WATCHING]
_HOSTS = 100  # spellings of this machine's name that are remembered
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
        media: where raw media wait to be encoded; None: none are taken.
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
        media: MediaStore | None = None,
    ) -> None:
        self.engine, self.log, self.unknown_user = engine, log, unknown_user
        self.desk = Desk(engine, log, deadline)
        self.keys, self.rate, self.local = keys or Keys(), rate or Rate(0), local
        self.encodes, self.media = media is not None, media or MediaStore(media_folder(log.path))
        self.metrics = Metrics()
        self.started = time.time()
        self.router = Router(ROUTES)
        self.page = read_page()
        self._hosts: set[bytes] = set()
        self._starting: asyncio.Task | None = None
        self.fatal: Callable[[], Any] = lambda: None
        """Called when the engine cannot start."""

    @cached_property
    def openapi(self) -> bytes:
        """The OpenAPI document."""
        from mmgraph import __version__

        return orjson.dumps(document(ROUTES, __version__, secured=not self.keys.open))

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
        await send({"type": "http.response.start", "status": response.status, "headers": response.raw_headers()})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})

    def _may(self, request: Request, route: Route) -> None:
        headers = request.headers
        if self.local and self.keys.open:
            host = headers.get(b"host", b"")
            if host not in self._hosts:
                self._local(host)
        writes = b"origin" in headers and request.method not in ("GET", "HEAD")
        if writes and urlsplit(request.header("origin")).netloc != request.header("host"):
            raise Problem("origin", "writes come from this server's own page or from programs, not from another site")
        if route.role is None:
            return
        self.keys.check(request, route.role)
        if self.rate.per_second:
            given = request.header("authorization") or request.header("x-api-key")
            client = request.scope.get("client")
            self.rate.take(given or (client[0] if client else ""))

    def _local(self, host: bytes) -> None:
        if urlsplit(f"//{host.decode('latin-1')}").hostname not in _LOCAL:
            raise Problem("origin", "without keys only localhost is answered; others need --api-key-file")
        if len(self._hosts) < _HOSTS:
            self._hosts.add(host)

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

    def body(self, answer: Answer, began: float) -> dict[str, Any]:
        """A list as it is sent; counts why it is the popular one, if it is."""
        meta = answer.meta
        if meta["fallback"] is not None:
            self.metrics.fallbacks[meta["fallback"]] += 1
        meta["took_ms"] = round(1000 * (time.perf_counter() - began), 3)
        return {"user": answer.user, "items": answer.items, "meta": meta}
