"""A constraint as named tensors with its structure beside them, and back. Reading runs no code that a file names."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from mmgraph import constraint as room
from mmgraph.constraint import Blocked, Constraint, Quota
from mmgraph.experiment.saved_arguments import CodeNeeded, encoded, named, stands_in
from mmgraph.ops import CSR


def packed_constraint(constraint: Constraint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and what puts them together again; the seen pairs are the graph's, and saved with it.

    A rule that is not mmgraph's own is told by name alone, so that whoever reads it knows that something is missing.
    """
    tensors = {"allowed": constraint.columns}
    rules = [_packed_rule(rule, f"rule{number}", tensors) for number, rule in enumerate(constraint.rules)]
    quotas = []
    for number, quota in enumerate(constraint.quotas):
        tensors[f"quota{number}"] = quota.videos.cpu().contiguous().clone()
        quotas.append({"name": quota.name, "at_least": quota.at_least, "at_most": quota.at_most})
    rows = constraint.blocked.rows
    blocked = {"rows": None if rows is None else sorted(rows), "version": constraint.blocked.version}
    return tensors, {"blocked": blocked, "rules": rules, "quotas": quotas}


def unpacked_constraint(tensors: dict[str, Tensor], told: dict[str, Any]) -> Constraint:
    """The constraint of :func:`packed_constraint`.

    Raises:
        CodeNeeded: it has a rule that only somebody's own code can ask: without it too much would be shown.
    """
    rows = told["blocked"]["rows"]
    quotas = [Quota(tensors[f"quota{number}"], **fields) for number, fields in enumerate(told["quotas"])]
    return Constraint(
        len(tensors["allowed"]),
        allowed=tensors["allowed"],
        blocked=Blocked(None if rows is None else frozenset(rows), told["blocked"]["version"]),
        rules=tuple(_rule(rule, tensors) for rule in told["rules"]),
        quotas=tuple(quotas),
    )


def _packed_rule(rule: Any, place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if _own(named(type(rule))) is None or not dataclasses.is_dataclass(rule):
        return {"unknown": named(type(rule))}
    fields: dict[str, Any] = {}
    for part in dataclasses.fields(rule):
        value, key = getattr(rule, part.name), f"{place}.{part.name}"
        if isinstance(value, Tensor):
            tensors[key] = value.cpu().contiguous().clone()
            fields[part.name] = {"tensor": key}
        elif isinstance(value, CSR):
            tensors[key] = torch.stack([value.row_indices().long(), value.indices.long()]).cpu()
            fields[part.name] = {"pairs": key, "shape": list(value.shape)}
        else:
            fields[part.name] = {"value": encoded(value)}
    return {"class": named(type(rule)), "fields": fields}


def _rule(told: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    kind = _own(told.get("class", ""))
    if kind is None:
        raise CodeNeeded(
            f"the constraint has a rule, {told.get('class') or told.get('unknown')}, that a file cannot hold: give the "
            "constraint itself, recommend_ids(…, constraint=…)"
        )
    return kind(**{name: _part(value, tensors) for name, value in told["fields"].items()})


def _part(told: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    if "tensor" in told:
        return tensors[told["tensor"]]
    if "pairs" in told:
        row, col = tensors[told["pairs"]]
        return CSR.from_edges(row, col, (told["shape"][0], told["shape"][1]))
    value = told["value"]
    return float(value["float"]) if isinstance(value, dict) else value


def _own(name: str) -> type | None:
    """The rule of that name, where it is one of mmgraph's."""
    module, _, qualified = name.partition(":")
    found = vars(room).get(qualified) if module == room.__name__ else None
    return found if stands_in(found, room) else None
