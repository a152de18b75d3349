"""A report as one self-contained HTML page: no request leaves it, and no script but its own runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mmgraph.report.charts import COLOURS, line_chart
from mmgraph.report.content import Clip, Map, ModalityFacts, Pick, Report, Table, Viewer

_FOLDER = Path(__file__).parent
# Nothing may be fetched: pictures, sounds, styles and the script are all in the page.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_PLAY = '<svg viewBox="0 0 10 10" aria-hidden="true"><path d="M1 0l8 5-8 5z"/></svg>'
_KINDS = {
    "look": "Shared look",
    "sound": "Shared sound",
    "words": "Shared words",
    "making": "Made alike",
    "co-watched": "Co-watched",
}


def write_report(report: Report, path: str | Path) -> Path:
    """Write the page; returns its path. The folder is made if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(report), encoding="utf-8")
    return path


def render_report(report: Report) -> str:
    """The page as text. Everything that comes from data is escaped."""
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    if report.map is not None:
        style += f".tip .tile{{background-image:url({report.map.sprite})}}"
    body = [
        f"<header><div><h1>{escape(report.title)}</h1><p>{escape(report.lead)}</p></div></header><main>",
        _figures(report.figures),
        _section("results", "Results", report.table.note, _table(report.table)),
        _section(
            "viewers",
            "Three people, and what they would be shown",
            "Each reason is the strongest path of its kind in the graph between the person and the video.",
            "".join(_viewer(viewer) for viewer in report.viewers),
        ),
    ]
    if report.map is not None:
        body.append(_section("map", "A map of the videos", report.map.note, _map(report.map)))
    charts = "".join(f'<div class="card chart">{line_chart(curve)}</div>' for curve in report.curves)
    note = "The dot marks the epoch whose weights were kept: the best on valid."
    body.append(_section("training", "Training", note, f'<div class="charts">{charts}</div>'))
    body.append(
        _section(
            "modalities",
            "Modalities and feature passports",
            "Coverage, what made the features, and whether near videos share users more than by chance.",
            '<div class="modalities">' + "".join(map(_modality, report.modalities)) + "</div>",
        )
    )
    footer = "".join(f"<p>{escape(line)}</p>" for line in report.footer)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<title>{escape(report.title)}</title><link rel="icon" href="data:,"><style>{style}</style></head><body>'
        + "".join(body)
        + f"</main><footer>{footer}</footer><script>{script}</script></body></html>\n"
    )


def _section(name: str, title: str, note: str, inner: str) -> str:
    words = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{words}{inner}</section>'


def _figures(figures: Sequence[tuple[str, str, str]]) -> str:
    cards = [
        f'<div class="card figure"><b>{escape(value)}</b><span>{escape(label)}</span>'
        f"<small>{escape(more)}</small></div>"
        for value, label, more in figures
    ]
    return f'<div class="figures">{"".join(cards)}</div>'


def _table(table: Table) -> str:
    best = [max((row.values[at] or 0.0 for row in table.rows), default=0.0) or 1.0 for at in range(len(table.columns))]
    lines = []
    for row in table.rows:
        cells = "".join(
            "<td>–</td>" if value is None else f'<td>{value:.3f}<i style="--w:{100 * value / most:.1f}%"></i></td>'
            for value, most in zip(row.values, best)
        )
        note = f"<small>{escape(row.note)}</small>" if row.note else ""
        lines.append(f'<tr class="{escape(row.kind)}"><th scope="row">{escape(row.name)}{note}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    return (
        '<div class="card scroll"><table><thead><tr><th scope="col"></th>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _still(clip: Clip, small: bool = False) -> str:
    if clip.image is None:
        picture = '<span class="frame" role="img" aria-label="no picture"></span>'
    else:
        picture = f'<img class="frame" alt="{escape(clip.title, quote=True)}" src="{clip.image}">'
    if clip.sound is None or small:
        return picture
    label = escape(f"Play the sound of {clip.title}", quote=True)
    return f'{picture}<button class="play" aria-label="{label}" data-sound="{clip.sound}">{_PLAY}</button>'


def _viewer(viewer: Viewer) -> str:
    tastes = "".join(f'<span class="chip">{escape(taste)}</span>' for taste in viewer.tastes)
    watched = "".join(
        f'<div class="clip">{_still(clip)}<div class="name">{escape(clip.title)}</div></div>' for clip in viewer.watched
    )
    picks = "".join(_pick(rank, pick) for rank, pick in enumerate(viewer.picks, 1))
    return (
        f'<article class="card viewer"><h3>{escape(viewer.name)}</h3><p>{escape(viewer.about)}</p>{tastes}'
        f'<h4>Watched lately</h4><div class="strip">{watched}</div>'
        f'<h4>Recommended</h4><div class="picks">{picks}</div></article>'
    )


def _pick(rank: int, pick: Pick) -> str:
    badges = "".join(
        f'<span class="badge{" new" if badge == "new" else ""}">{escape(badge)}</span>' for badge in pick.badges
    )
    reasons = "".join(
        f"<li>{_still(reason.clip, small=True) if reason.clip else '<span></span>'}"
        f"<div><b>{escape(_KINDS.get(reason.kind, reason.kind))}</b> {escape(reason.text)}"
        f'<i style="--s:{100 * min(1.0, max(0.0, reason.strength)):.0f}%"></i></div></li>'
        for reason in pick.reasons
    )
    return (
        f'<div class="pick"><div class="still">{_still(pick.clip)}</div><div>'
        f'<div class="name"><span class="rank">{rank}</span>{escape(pick.clip.title)}</div>{badges}'
        f'<ul class="why">{reasons}</ul></div></div>'
    )


def _map(chart: Map) -> str:
    height = 62.0
    xs, ys = [p.x for p in chart.points], [p.y for p in chart.points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    places = [
        (
            round(2 + 96 * (p.x - left) / ((right - left) or 1), 2),
            round(height - 2 - (height - 4) * (p.y - low) / ((high - low) or 1), 2),
        )
        for p in chart.points
    ]
    circles = "".join(
        f'<circle cx="{x}" cy="{y}" r=".62" fill="{COLOURS[p.group % len(COLOURS)]}"{" class=new" if p.new else ""} />'
        for (x, y), p in zip(places, chart.points)
    )
    legend = "".join(
        f'<button aria-pressed="false"><i style="background:{COLOURS[at % len(COLOURS)]}"></i>{escape(group)}</button>'
        for at, group in enumerate(chart.groups)
    )
    data = {
        "points": [[x, y, p.group, int(p.new), p.title] for (x, y), p in zip(places, chart.points)],
        "groups": list(chart.groups),
        "columns": chart.columns,
        "tile": list(chart.tile),
        "height": height,
    }
    # "<" as an escape, so that no title can close the script element.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="card"><div class="map"><svg viewBox="0 0 100 {height:.0f}" role="img" '
        f'aria-label="Map of {len(places)} videos">{circles}</svg>'
        '<div class="tip"><div class="tile"></div><span></span><br><small></small></div></div>'
        f'<div class="legend">{legend}</div></div><script type="application/json" id="map-data">{text}</script>'
    )


def _modality(facts: ModalityFacts) -> str:
    rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in facts.facts.items())
    words = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in facts.warnings)
    return (
        f'<div class="card modality"><h3>{escape(facts.name)}</h3><p>{escape(facts.made_by)}</p>'
        f'<div class="meter" role="img" aria-label="coverage {facts.coverage:.0%}">'
        f'<i style="width:{100 * facts.coverage:.1f}%"></i></div>'
        f"<dl><dt>videos that have it</dt><dd>{facts.coverage:.1%}</dd>{rows}</dl>{words}</div>"
    )
