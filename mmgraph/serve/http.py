"""The few parts of HTTP that the server needs, over ASGI: requests, responses, problems, routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

Role = Literal["read", "write", "admin"]
MIB = 1 << 20
BODY_SECONDS = 30.0

PROBLEMS: dict[str, tuple[int, str]] = {
    "not-json": (400, "The body is no JSON"),
    "bad-path": (400, "The address holds bytes that are no UTF-8"),
    "no-key": (401, "An API key is needed"),
    "role": (403, "The key may not do this"),
    "origin": (403, "Another site asked"),
    "unknown-id": (404, "No such id"),
    "unknown-column": (404, "No such column"),
    "no-such-page": (404, "No such address"),
    "method": (405, "No such method here"),
    "slow-body": (408, "The body took too long"),
    "bundle-clash": (409, "The bundle does not take this"),
    "conflict": (409, "It is being done already"),
    "ahead": (409, "The log is not there yet"),
    "too-large": (413, "The body is too large"),
    "content-type": (415, "The body has another content type"),
    "fields": (422, "Fields are wrong"),
    "busy": (429, "Too many requests"),
    "bug": (500, "An error of ours"),
    "unready": (503, "Not ready"),
    "log": (503, "The event log does not answer"),
    "disk-full": (507, "No room for the event log"),
}
"""Problem name -> status and title."""


class Problem(Exception):
    """A request that is answered by ``application/problem+json``.

    Args:
        name: of :data:`PROBLEMS`.
        detail: what is wrong and what to do, for people.
        headers: further ones.
        more: further members, such as ``errors``.
    """

    def __init__(self, name: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.name, self.detail, self.headers, self.more = name, detail, dict(headers or {}), more
        self.status, self.title = PROBLEMS[name]

    def response(self) -> Response:
        """The answer."""
        body = {"type": f"/problems/{self.name}", "title": self.title, "status": self.status, "detail": self.detail}
        return Response(self.status, orjson.dumps({**body, **self.more}), "application/problem+json", self.headers)


class Response(NamedTuple):
    """Status, body, content type, further headers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """As ASGI takes them."""
        out = [(name.encode(), value.encode()) for name, value in self.headers.items()] if self.headers else []
        if self.status != 204:
            out += [(b"content-type", self.content_type.encode()), (b"content-length", b"%d" % len(self.body))]
        return out


def json_response(body: Any, status: int = 200) -> Response:
    """A body as JSON."""
    return Response(status, orjson.dumps(body))


class Request:
    """One request: ``method``, ``segments`` of the path, ``headers`` by lower-case name, ``body`` once it was read."""

    __slots__ = ("body", "headers", "method", "parameters", "role", "scope", "segments")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.scope, self.method = scope, scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if b"?" in raw:
            raw = raw[: raw.index(b"?")]
        try:
            if b"%" in raw:  # split before decoding: an id may hold a slash, as %2F
                self.segments = tuple(unquote_to_bytes(part).decode() for part in raw.split(b"/")[1:])
            else:
                self.segments = tuple(raw.decode().split("/")[1:])
        except UnicodeDecodeError:
            raise Problem("bad-path", "percent-encode the UTF-8 bytes of an id") from None
        self.parameters: dict[str, str] = {}
        self.body = b""
        self.role: Role | None = None

    def header(self, name: str) -> str:
        """A header as text, empty where there is none."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    def query(self) -> list[tuple[str, str]]:
        """The query's pairs.

        Raises:
            Problem: not UTF-8.
        """
        query = self.scope["query_string"]
        if not query:
            return []
        try:
            pairs = query.decode("ascii")
            if "%" not in pairs and "+" not in pairs and pairs.count("&") < 100:
                split = (pair.partition("=") for pair in pairs.split("&") if pair)
                return [(name, value) for name, _, value in split]
            return parse_qsl(pairs, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=100)
        except (UnicodeDecodeError, ValueError):
            raise Problem("bad-path", "the query is no percent-encoded UTF-8 of at most 100 fields") from None

    async def read(self, receive: Callable[[], Awaitable[Any]], limit: int) -> None:
        """Reads the body.

        Raises:
            Problem: more than ``limit`` bytes, or not within half a minute.
        """
        declared = self.header("content-length")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Problem("slow-body", "the connection ended before the body did")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise too_large(limit)
                    parts.append(part)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Problem("slow-body", f"send it within {BODY_SECONDS:.0f} s") from None
        self.body = parts[0] if len(parts) == 1 else b"".join(parts)

    def content_type(self, *allowed: str) -> str:
        """The content type of the body, one of those allowed.

        Raises:
            Problem: another.
        """
        found = self.header("content-type").split(";")[0].strip().lower()
        if found not in allowed:
            raise Problem("content-type", f"send {' or '.join(allowed)}, not {found or 'a body without a type'}")
        return found


def too_large(limit: int) -> Problem:
    """The problem of a body beyond ``limit`` bytes."""
    return Problem("too-large", f"at most {limit:,} bytes; send several smaller requests")


Handler = Callable[[Any, Request], Awaitable[Response]]


class Route(NamedTuple):
    """What is at an address.

    Attributes:
        method: as ``GET``.
        path: as ``/v1/videos/{video}/similar``.
        handler: coroutine of the application and the request.
        role: which key may; None for everybody.
        summary: for the OpenAPI document.
        parameters: query parameters, OpenAPI objects.
        body: content type -> schema of the body.
        answers: status -> (description, content type, schema); problems are added by name.
        problems: names of :data:`PROBLEMS` that it may answer with.
        limit: bytes of the body.
    """

    method: str
    path: str
    handler: Handler
    role: Role | None
    summary: str
    answers: Mapping[int, tuple[str, str | None, Any]]
    problems: tuple[str, ...] = ()
    parameters: tuple[Mapping[str, Any], ...] = ()
    body: Mapping[str, Any] = {}
    limit: int = MIB


class Router:
    """Finds routes by path; one segment in braces matches any.

    Args:
        routes: earlier ones win.

    Raises:
        ValueError: a path with two segments in braces.
    """

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._known: dict[tuple[str | None, ...], dict[str, Route]] = {}  # None: any segment
        self._holes: dict[int, set[int]] = {}  # length of a path -> where braces are in such paths
        self._names: dict[tuple[str | None, ...], str] = {}
        for route in routes:
            segments: list[str | None] = [*route.path.split("/")[1:]]
            names = [(at, part[1:-1]) for at, part in enumerate(segments) if part and part[0] == "{"]
            if len(names) > 1:
                raise ValueError(f"{route.path} has two segments in braces")
            for at, name in names:
                segments[at] = None
                self._holes.setdefault(len(segments), set()).add(at)
                self._names[tuple(segments)] = name
            self._known.setdefault(tuple(segments), {}).setdefault(route.method, route)

    def find(self, request: Request) -> Route:
        """The route of a request; its parameters are put into the request.

        Raises:
            Problem: no such address, or no such method there.
        """
        methods = self._known.get(request.segments) or self._match(request)
        if methods is None:
            raise Problem("no-such-page", "the addresses are listed at /openapi.json")
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join(sorted(methods) + (["HEAD"] if "GET" in methods else []))
            raise Problem("method", f"there is {allowed}", {"allow": allowed})
        return route

    def _match(self, request: Request) -> dict[str, Route] | None:
        segments = request.segments
        for at in self._holes.get(len(segments), ()):
            path = (*segments[:at], None, *segments[at + 1 :])
            if path in self._names:
                request.parameters = {self._names[path]: segments[at]}
                return self._known[path]
        return None
