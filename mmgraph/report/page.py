"""A report as one self-contained HTML page: no request leaves it, and no script but its own runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgraph.data.files import write_atomically
from mmgraph.report.charts import COLOURS, drawing
from mmgraph.report.content import Column, Map, Report, Table

_FOLDER = Path(__file__).parent
# Nothing may be fetched: pictures, sounds, styles and the script are all in the page.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_KINDS = {
    "visual": "Shared look",
    "image": "Shared look",
    "audio": "Shared sound",
    "text": "Shared words",
    "generation": "Made alike",
    "co-watched": "Co-watched",
}
_NUMBERS = ("No", "One person", "Two people", "Three people", "Four people", "Five people")


def write_report(report: Report, path: str | Path) -> Path:
    """Write the page, whole or not at all; returns its path. The folder is made if need be."""
    path = Path(path)
    write_atomically(path, render_report(report).encode())
    return path


def render_report(report: Report) -> str:
    """The page as text. Everything that comes from data is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    if report.map is not None and report.map.sprite is not None:
        style += f".tip .tile{{background-image:url({report.map.sprite})}}"
    titles = _titles(report)
    columns = [column if isinstance(column, Column) else Column(column) for column in report.table.columns]
    return environment.get_template("page.html").render(
        report=report,
        policy=_POLICY,
        # ours, not the data's: the sprite is base64
        style=Markup(style),
        script=Markup((_FOLDER / "page.js").read_text(encoding="utf-8")),
        titles=titles,
        contents=[(name, title) for name, title in titles.items() if title],
        columns=columns,
        rows=[(row, cells) for row, cells in zip(report.table.rows, _cells(report.table, columns), strict=True)],
        kinds=_KINDS,
        pictures=any(
            clip.image for viewer in report.viewers for clip in (*viewer.watched, *(pick.clip for pick in viewer.picks))
        ),
        map=None if report.map is None or not report.map.points else _map(report.map),
        charts=[drawing(curve) for curve in report.curves],
    )


def _titles(report: Report) -> dict[str, str]:
    """The sections that the page has, by id; an absent one has no title."""
    count = len(report.viewers)
    people = _NUMBERS[count] if count < len(_NUMBERS) else f"{count} people"
    would = "would be shown" if count == 1 else "they would be shown"
    return {
        "results": "Results",
        "viewers": f"{people}, and what {would}" if count else "",
        "map": "A map of the videos" if report.map is not None and report.map.points else "",
        "training": "Training" if report.curves else "",
        "modalities": "Modalities and feature passports" if report.modalities else "",
    }


def _cells(table: Table, columns: Sequence[Column]) -> list[list[dict[str, Any] | None]]:
    out: list[list[dict[str, Any] | None]] = [[] for _ in table.rows]
    for at, column in enumerate(columns):
        values = [row.values[at] for row in table.rows]
        most = max((value for value in values if value is not None), default=0.0) or 1.0
        rivals = [v for v, row in zip(values, table.rows, strict=True) if v is not None and row.kind != "ceiling"]
        # what is printed decides: two rows that read the same are both bold
        highest = _text(max(rivals), column) if column.best and len(rivals) > 1 else None
        for cells, value, row in zip(out, values, table.rows, strict=True):
            if value is None:
                cells.append(None)
                continue
            text, width = _text(value, column), f"{max(0.0, 100 * value / most):.1f}"
            cells.append({"text": text, "width": width, "best": text == highest and row.kind != "ceiling"})
    return out


def _text(value: float, column: Column) -> str:
    return f"{value:.1%}" if column.share else f"{value:.3f}"


def _map(chart: Map) -> dict[str, Any]:
    height = 62.0
    xs, ys = [p.x for p in chart.points], [p.y for p in chart.points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    places = [
        {
            "x": round(2 + 96 * (p.x - left) / ((right - left) or 1), 2),
            "y": round(height - 2 - (height - 4) * (p.y - low) / ((high - low) or 1), 2),
            "colour": COLOURS[p.group % len(COLOURS)],
            "new": p.new,
            "title": p.title,
        }
        for p in chart.points
    ]
    data = {
        "points": [[q["x"], q["y"], p.group, int(p.new)] for q, p in zip(places, chart.points, strict=True)],
        "groups": list(chart.groups),
        "columns": chart.columns,
        "tile": list(chart.tile),
        "height": height,
    }
    legend = [(COLOURS[at % len(COLOURS)], group) for at, group in enumerate(chart.groups)]
    return {"places": places, "legend": legend, "height": f"{height:.0f}", "data": data}
