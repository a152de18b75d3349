"""What the tables of addresses are written with."""

from __future__ import annotations

from typing import Any

BODY = ("not-json", "slow-body", "too-large", "content-type", "fields")
ASK = ("busy", "unready", "fields")
LIST = (*ASK, "unknown-id", "unknown-column")
WRITE = ("busy", "unready", "log", "disk-full")
JSON = "application/json"

Answers = dict[int, tuple[str, str | None, Any]]


def ref(model: type) -> dict[str, str]:
    """A schema of the document by its name."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def ok(model: type | None, text: str = "Done", status: int = 200) -> Answers:
    """An answer in JSON."""
    return {status: (text, JSON, {"type": "object"} if model is None else ref(model))}


def text(kind: str = "text/plain") -> Answers:
    """An answer as text."""
    return {200: ("Done", kind, {"type": "string"})}
