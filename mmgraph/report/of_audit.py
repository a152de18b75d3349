"""The page of an audit: one self-contained HTML file, without a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgraph.audit import Audit, Effect, EffectRow, MissingRow
from mmgraph.audit.steps import EVERY
from mmgraph.data.files import write_atomically
from mmgraph.report.charts import COLOURS, ticks

_FOLDER = Path(__file__).parent
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_KINDS = {
    "drop": ("Left out", "all groups − all without it"),
    "alone": ("Alone", "it alone − no group"),
    "shapley": ("Shapley value", "averaged over all orders"),
    "shuffle": ("Shuffled", "all − all with its features dealt at random"),
    "noise": ("Blurred", "all − all with noise on its features"),
}
_HOW = {
    "random": "At random",
    "unpopular": "The least popular videos first",
    "value": "Not at random: by the features' own value",
}


def write_audit(audit: Audit, path: str | Path) -> Path:
    """Writes the page of an audit, whole or not at all; returns its path."""
    path = Path(path)
    write_atomically(path, render_audit(audit).encode())
    return path


def render_audit(audit: Audit) -> str:
    """The page as text: numbers in tables, the same as drawings, light and dark. Everything from data is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["signed"] = lambda v: "–" if v is None else f"{v:+.4f}"
    environment.filters["said"] = _said
    style = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "audit.css"))
    kinds = [(kind, *words) for kind, words in _KINDS.items() if any(row.kind == kind for row in audit.effects)]
    return environment.get_template("audit.html").render(
        audit=audit,
        policy=_POLICY,
        style=Markup(style),
        kinds=kinds,
        worth=_worth(audit, [kind for kind, *_ in kinds]),
        parts=[(where, title, _parts(audit, where, kinds)) for where, title in _PARTS],
        sum=_sum(audit),
        curves=_curves(audit),
        how=_HOW,
    )


_PARTS = (
    ("popularity", "By the popularity of the target: recall of targets in each range of training users"),
    ("activity", "By the activity of the user: users in each range of training interactions"),
)


def _worth(audit: Audit, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """A row a group and kind, its interval as places on one scale in per cent of the width."""
    rows = [row for row in audit.effects if row.where == "all"]
    ends = [end for row in rows for end in (row.effect.low, row.effect.high, row.effect.mean) if end is not None]
    levels = ticks(min([0.0, *ends]), max([0.0, *ends]))
    low, span = levels[0], levels[-1] - levels[0]

    def at(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - low) / span, 2)

    found = {(row.group, row.kind): row.effect for row in rows}
    out = []
    for group, modalities in audit.groups.items():
        cells = []
        for kind in kinds:
            effect = found.get((group, kind))
            places = None if effect is None else _places(effect, at)
            cells.append({"kind": kind, "effect": effect, "places": places, "said": _said(effect)})
        covered = ", ".join(f"{m} {audit.coverage[m]:.0%}" for m in modalities)
        out.append({"group": group, "covered": covered, "cells": cells, "zero": at(0.0)})
    return out


def _sum(audit: Audit) -> float | None:
    """What the groups' Shapley values add up to; None where there are none."""
    rows = [row.effect.mean for row in audit.effects if row.kind == "shapley" and row.where == "all"]
    return math.fsum(v for v in rows if v is not None) if rows else None


def _places(effect: Effect, at: Any) -> dict[str, float | None]:
    left, right = at(effect.low), at(effect.high)
    width = None if left is None or right is None else round(right - left, 2)
    return {"left": left, "width": width, "mean": at(effect.mean)}


def _said(effect: Effect | None) -> str:
    """The interval in a word."""
    if effect is None or effect.mean is None or effect.low is None:
        return "unknown"
    if effect.mean == effect.low == effect.high == 0:
        return "the same for all"
    if not effect.sure:
        return "may be nothing"
    return "helps" if effect.mean > 0 else "harms"


def _parts(audit: Audit, where: str, kinds: Sequence[Any]) -> list[dict[str, Any]]:
    """A table a kind: groups down, ranges across."""
    rows: list[EffectRow] = [row for row in audit.effects if row.where == where]
    ranges = list(dict.fromkeys(row.range for row in rows))
    out = []
    for kind, title, about in kinds:
        cells = {(row.group, row.range): row.effect for row in rows if row.kind == kind}
        lines = [(group, [cells.get((group, name)) for name in ranges]) for group in audit.groups]
        out.append({"title": title, "about": about, "ranges": ranges, "lines": lines})
    return out if len(ranges) > 1 else []


def _curves(audit: Audit) -> list[dict[str, Any]]:
    """A drawing an order of missing: the metric over the share that lacks a modality, a line a group."""
    out = []
    ends = [_without(audit, group) for group in audit.groups]
    values = [*(row.value for row in audit.missing), *(v for v in ends if v is not None), audit.full, audit.none]
    levels = ticks(min(values), max(values)) if audit.missing else []
    for how in dict.fromkeys(row.how for row in audit.missing):
        rows = [row for row in audit.missing if row.how == how]
        groups = list(dict.fromkeys(row.group for row in rows))
        lines = [_line(audit, [row for row in rows if row.group == g], levels, i) for i, g in enumerate(groups)]
        marks = [(round(_Y1 - (_Y1 - _Y0) * i / (len(levels) - 1), 1), f"{v:.4g}") for i, v in enumerate(levels)]
        rates = [(round(_X0 + (_X1 - _X0) * rate / 100, 1), f"{rate}%") for rate in (0, 25, 50, 75, 100)]
        out.append({"how": how, "title": _HOW[how], "lines": lines, "ys": marks, "xs": rates, "rows": rows})
    return out


_X0, _X1, _Y0, _Y1 = 58, 344, 32, 190  # the drawing's inside, in pixels


def _line(audit: Audit, rows: Sequence[MissingRow], levels: Sequence[float], number: int) -> dict[str, Any]:
    def at(rate: float, value: float) -> tuple[float, float]:
        up = (value - levels[0]) / (levels[-1] - levels[0])
        return round(_X0 + (_X1 - _X0) * rate, 1), round(_Y1 - (_Y1 - _Y0) * up, 1)

    points = [at(0.0, audit.full), *(at(row.rate, row.value) for row in rows)]
    if rows[-1].rate < 1 and (end := _without(audit, rows[0].group)) is not None:
        points.append(at(1.0, end))
    name = "every group" if rows[0].group == EVERY else rows[0].group
    return {"name": name, "colour": COLOURS[number % len(COLOURS)], "points": points, "dash": number % 4}


def _without(audit: Audit, group: str) -> float | None:
    """The metric where every video lacks the group."""
    if group == EVERY:
        return audit.none
    lost = next((r.effect.mean for r in audit.effects if (r.group, r.kind, r.where) == (group, "drop", "all")), None)
    return None if lost is None else audit.full - lost
