"""Handlers of what is written: events, and what becomes of videos."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from pydantic import TypeAdapter

from mmgraph.bundle import Modality
from mmgraph.serve import schema
from mmgraph.serve.answering import find_video
from mmgraph.serve.features import pack
from mmgraph.serve.http import MIB, Problem, Request, Response, Route, json_response
from mmgraph.serve.log import Event, EventError, interaction
from mmgraph.serve.log.events import identifier
from mmgraph.serve.media import MEDIA_BYTES, TYPES, kind_of
from mmgraph.serve.query import MODALITY, identity, query
from mmgraph.serve.routes import ASK, BODY, JSON, WRITE, ok, ref
from mmgraph.serve.state import State

if TYPE_CHECKING:
    from mmgraph.serve.app import App

_EVENTS, _VIDEO, _VIDEOS = TypeAdapter(schema.Events), TypeAdapter(schema.VideoBody), TypeAdapter(schema.Videos)
_PATCH = TypeAdapter(schema.Patch)


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
    seq, accepted, duplicates = await app.desk.write(events) if events else (app.engine.state.seq, 0, 0)
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
    raw = identity(request, "video")
    body = schema.parse(_VIDEO, request.body)
    known = app.engine.state.videos.find(raw)
    fresh = known < 0 or app.engine.state.barred(known)
    seq, _, _ = await app.desk.write([_described(app, raw, body, _key(request))])
    return json_response(await app.desk.look(lambda state: _written(state, raw, seq)), status=201 if fresh else 200)


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
    elif row < state.trained and row in state.columns.described:
        note = "the model was trained on it: its row stays, its columns are new"
    recommendable = row not in state.rowless and not state.barred(row)
    return {"seq": seq, "video": raw, "recommendable": recommendable, "note": note}


async def _post_videos(app: App, request: Request) -> Response:
    body = schema.parse(_VIDEOS, request.body)
    key = _key(request)
    events = [_described(app, video.video, video, f"{key}:{at}") for at, video in enumerate(body.videos)]
    seq, accepted, _ = await app.desk.write(events)
    return json_response({"seq": seq, "written": accepted}, status=201)


async def _put_medium(app: App, request: Request) -> Response:
    raw, modality = identity(request, "video"), query(request, "modality").get("modality", "")
    if not app.encodes:
        raise Problem("bundle-clash", "this server encodes no media: send features")
    given = request.content_type(*TYPES)
    known = app.engine.state.bundle.manifest.modalities.get(modality)
    reads = kind_of((known.passport or {}).get("encoder")) if known is not None else None
    if reads != TYPES[given]:
        names = [name for name, one in app.engine.state.bundle.manifest.modalities.items() if _reads(one, TYPES[given])]
        detail = f"no encoder of {modality!r} reads {given}; it is read for {', '.join(names) or 'no modality'}"
        raise Problem("bundle-clash", detail)
    if not request.body:
        raise schema.fields([("", "there is nothing in the body")])
    await app.desk.look(lambda state: _exists(state, raw))
    name = await asyncio.to_thread(app.media.put, request.body)
    event = Event(_key(request), "media", time.time(), {"video": raw, "modality": modality, "file": name})
    seq, accepted, _ = await app.desk.write([event])
    if not accepted:
        app.media.drop(name)
    return json_response({"seq": seq, "video": raw, "modality": modality}, status=202)


def _reads(modality: Modality, kind: str) -> bool:
    return kind_of((modality.passport or {}).get("encoder")) == kind


async def _get_video(app: App, request: Request) -> Response:
    raw = identity(request, "video")

    def look(state: State) -> dict[str, Any]:
        row = state.videos.find(raw)
        hidden = row in state.hidden and request.role != "read"
        if row < 0 or (state.barred(row) and not hidden) or row in state.deleted or row in state.nameless:
            find_video(state, raw)
        columns = {name: value for name in state.columns.names() if (value := state.columns.of(row, name)) is not None}
        out = {"video": raw, "columns": columns, "hidden": hidden, "popularity": float(state.popularity.weight[row])}
        out["recommendable"] = row not in state.rowless and not hidden
        out["source"] = "trained" if row < state.trained else "new"
        return {**out, "title": columns.pop("title", None)}

    return json_response(await app.desk.look(look))


async def _patch_video(app: App, request: Request) -> Response:
    raw = identity(request, "video")
    body = schema.parse(_PATCH, request.body)
    await app.desk.look(lambda state: _exists(state, raw))
    kind = "hide" if body.hidden else "show"
    seq, _, _ = await app.desk.write([Event(_key(request), kind, time.time(), {"video": raw})])
    return json_response(await app.desk.look(lambda state: _written(state, raw, seq)))


async def _delete_video(app: App, request: Request) -> Response:
    raw = identity(request, "video")
    await app.desk.look(lambda state: _exists(state, raw))
    await app.desk.write([Event(_key(request), "delete", time.time(), {"video": raw})])
    return Response(204, b"")


def _exists(state: State, raw: str) -> int:
    """The row of a video, hidden or not."""
    row = state.videos.find(raw)
    if row < 0 or row in state.deleted or row in state.nameless:
        find_video(state, raw)
    return row


_BINARY = {"type": "string", "format": "binary"}

WRITING: list[Route] = [
    Route(
        *("PUT", "/v1/videos/{video}/media", _put_medium, "write", "A medium of a video, encoded in the background"),
        *(ok(schema.MediumTaken, "Taken; its features count once it is encoded", 202),),
        *((*BODY, *WRITE, "bundle-clash", "unknown-id"), (MODALITY,), dict.fromkeys(TYPES, _BINARY), MEDIA_BYTES),
    ),
    Route(
        *("POST", "/v1/events", _events, "write", "Say what happened; it counts in the next answer"),
        *(ok(schema.Taken, "Taken", 202), (*BODY, *WRITE), ()),
        {JSON: ref(schema.Events), "application/x-ndjson": {"type": "string", "description": "an event a line"}},
        16 * MIB,
    ),
    Route(
        *("PUT", "/v1/videos/{video}", _put_video, "write", "Describe a video; it can be recommended at once"),
        {**ok(schema.Written, "Described anew"), **ok(schema.Written, "New", 201)},
        *((*BODY, *WRITE, "bundle-clash"), (), {JSON: ref(schema.VideoBody)}),
    ),
    Route(
        *("POST", "/v1/videos", _post_videos, "write", "Describe several videos"),
        *(ok(schema.WrittenMany, "Described", 201), (*BODY, *WRITE, "bundle-clash"), ()),
        *({JSON: ref(schema.Videos)}, 16 * MIB),
    ),
    Route(
        *("GET", "/v1/videos/{video}", _get_video, "read", "What is known of a video"),
        *(ok(schema.Video), (*ASK, "unknown-id")),
    ),
    Route(
        *("PATCH", "/v1/videos/{video}", _patch_video, "write", "Hide a video from every answer, or show it again"),
        *(ok(schema.Written), (*BODY, *WRITE, "unknown-id"), (), {JSON: ref(schema.Patch)}),
    ),
    Route(
        *("DELETE", "/v1/videos/{video}", _delete_video, "write", "Delete a video; it is gone from the next answer"),
        *({204: ("Deleted", None, None)}, ("fields", *WRITE, "unknown-id")),
    ),
]
