"""What an address says besides the route: ids in the path, values of the query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgraph.serve import schema
from mmgraph.serve.http import Request
from mmgraph.serve.log import EventError
from mmgraph.serve.log.base import MAX_ID
from mmgraph.serve.log.events import identifier

K = {"name": "k", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": schema.MAX_K, "default": 20}}
EXPLAIN = {"name": "explain", "in": "query", "schema": {"type": "boolean", "default": False}}
FILTER = {
    "name": "filter",
    "in": "query",
    "description": "column:value; several times for several values or columns",
    "schema": {"type": "array", "items": {"type": "string", "pattern": r"^[^:]+:", "maxLength": 300}, "maxItems": 20},
    "style": "form",
    "explode": True,
}
MODALITY = {
    "name": "modality",
    "in": "query",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 64},
}
PREFIX = {"name": "prefix", "in": "query", "schema": {"type": "string", "maxLength": MAX_ID}}


def identity(request: Request, name: str) -> str:
    """The raw id at a place of the path.

    Raises:
        Problem: it is none.
    """
    try:
        return identifier(request.parameters, name)
    except EventError as error:
        raise schema.fields([(error.pointer, error.detail)]) from None


def query(request: Request, *known: str) -> dict[str, Any]:
    """The query's values; ``filter=column:value`` may come several times, and is column -> values.

    Raises:
        Problem: a name that is not among those known, or twice; a filter of another form.
    """
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


def filter_of(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """The filter."""
    return values.get("filter", {})


def whole(values: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """A whole number.

    Raises:
        Problem: it is none, or lies outside.
    """
    text = values.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise schema.fields([(f"/{name}", f"a whole number from {low} to {high}")])
    return int(text)


def flag(values: Mapping[str, Any], name: str) -> bool:
    """True or false, which it is by default.

    Raises:
        Problem: neither.
    """
    text = values.get(name, "false")
    if text not in ("true", "false"):
        raise schema.fields([(f"/{name}", "true or false")])
    return text == "true"
