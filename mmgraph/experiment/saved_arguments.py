"""What a model was made with, as JSON values and back. Reading runs no code that a file names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel

from mmgraph.experiment.identity import describe
from mmgraph.models import Recommender

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class CodeNeeded(ValueError):
    """Only the person's own code can make what was saved, and a file's word is no reason to run any."""


def named(kind: type) -> str:
    """``module:class``, as files say it."""
    return f"{kind.__module__}:{kind.__qualname__}"


def _own() -> dict[str, Any]:
    """The classes that a saved model may name: what mmgraph's own rooms export."""
    from mmgraph import models, nn, objectives

    return {name: getattr(room, name) for room in (nn, models, objectives) for name in room.__all__}


def stands_in(value: Any, room: Any) -> bool:
    """Whether a value is a class that this module defines."""
    return isinstance(value, type) and value.__module__ == room.__name__


def encoded(value: Any) -> Any:
    """A plain value, or an object of plain fields, so that it can be read back; else a note that it cannot."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return describe(value)
    if isinstance(value, (list, tuple)):
        items = [encoded(v) for v in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {"dict": {k: encoded(v) for k, v in value.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encoded(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": named(type(value)), "fields": fields}
    if isinstance(value, BaseModel):
        fields = {name: encoded(getattr(value, name)) for name in type(value).model_fields}
        return {"class": named(type(value)), "fields": fields}
    return {"unknown": named(type(value))}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "tuple" in value:
        return tuple(_decoded(v) for v in value["tuple"])
    if "dict" in value:
        return {k: _decoded(v) for k, v in value["dict"].items()}
    kind = _own_class(value.get("class", ""))
    if kind is None:
        raise CodeNeeded(value.get("class") or value.get("unknown"))
    return kind(**{k: _decoded(v) for k, v in value["fields"].items()})


def _own_class(name: str) -> type | None:
    module, _, qualified = name.partition(":")
    found = _own().get(qualified) if module.partition(".")[0] == "mmgraph" else None
    return found if isinstance(found, type) else None


def made(told: dict[str, Any], folder: Path, given: Any, graph: MultimodalGraph) -> Recommender:
    """The model that ``model.json`` tells of, without its weights.

    Args:
        told: the file's contents.
        folder: where it lies, for errors.
        given: the class, a function of the graph, or the model itself; None where it is mmgraph's own.
        graph: what it reads.

    Raises:
        CodeNeeded: it takes code that was not given.
    """
    if isinstance(given, Recommender):
        return given
    kind = _own_class(told["model"]) if given is None else given
    with torch.random.fork_rng():
        if kind is not None and not isinstance(kind, type):
            return kind(graph)
        if kind is None or not issubclass(kind, Recommender):
            raise CodeNeeded(
                f"{folder} holds a {told['model']}, which is no model of mmgraph's own, and no code is run because a "
                "file names it: give its class, load(folder, model=…)"
            )
        try:
            arguments = {key: _decoded(value) for key, value in told["args"].items()}
        except CodeNeeded as error:
            raise CodeNeeded(
                f"{folder}: the {told['model']} was made with a {error}, which a file cannot hold: give a function of "
                "the graph that makes it, load(folder, model=lambda graph: …)"
            ) from None
        make: Any = kind
        return make(graph, **arguments)
