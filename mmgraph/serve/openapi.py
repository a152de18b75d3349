"""The OpenAPI document, made from the routes."""

from __future__ import annotations

import re
from typing import Any

from pydantic.json_schema import models_json_schema

from mmgraph.serve import schema
from mmgraph.serve.http import PROBLEMS, Route
from mmgraph.serve.log.base import MAX_ID

_MODELS = (
    *(schema.Recommend, schema.RecommendMany, schema.Events, schema.VideoBody, schema.Videos, schema.Patch),
    *(schema.Score, schema.EventBody),
)
_ANSWERS = (
    *(schema.Recommended, schema.RecommendedMany, schema.Taken, schema.Written, schema.WrittenMany, schema.Video),
    schema.MediumTaken,
    *(schema.Similar, schema.Scored, schema.ProblemBody),
)


def document(routes: list[Route], version: str, secured: bool) -> dict[str, Any]:
    """OpenAPI 3.1 of these routes; ``secured``: keys are needed."""
    pairs = [(m, "validation") for m in _MODELS] + [(m, "serialization") for m in _ANSWERS]
    _, definitions = models_json_schema(pairs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, secured)
    out: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "mmgraph serve", "version": version, "description": "Recommendations from a bundle."},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }
    if secured:
        out["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return out


def _operation(route: Route, secured: bool) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, (text, content_type, body) in route.answers.items():
        answers[str(status)] = {"description": text}
        if content_type is not None:
            answers[str(status)]["content"] = {content_type: {"schema": body}}
    names = [*route.problems, "method", "origin"]
    if secured and route.role is not None:
        names += ["no-key", "role"]
    if "{" in route.path or route.parameters:
        names.append("bad-path")
    for name in names:
        status, title = PROBLEMS[name]
        known = answers.get(str(status))
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
        text = title if known is None else f"{known['description']}; {title}"
        answers[str(status)] = {"description": text, "content": {**(known or {}).get("content", {}), **content}}
    named = re.findall(r"{(\w+)}", route.path)
    identity = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": r"^[^\x00-\x1f\x7f]+$"}
    parameters: list[Any] = [{"name": n, "in": "path", "required": True, "schema": identity} for n in named]
    out: dict[str, Any] = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {route.path}").strip("_"),
        "responses": answers,
    }
    if parameters or route.parameters:
        out["parameters"] = parameters + list(route.parameters)
    if route.body:
        content = {kind: {"schema": body} for kind, body in route.body.items()}
        out["requestBody"] = {"required": True, "content": content}
    if secured and route.role is not None:
        out["security"] = [{"key": []}]
    return out
