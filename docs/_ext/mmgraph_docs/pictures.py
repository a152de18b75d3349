"""Pictures of the gallery: drawn from committed rows by the library's own plots, each on light and on dark ground."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from mmgraph.report import Dot, draw_dots, draw_lines
from mmgraph_docs.rows import Entry, Row, by_protocol, curves
from mmgraph_docs.text import heading

INK = "#808590"  # reads on white and on black
BARS = {"mmgraph": "#3b82f6", "other": "#9ca3af"}


@dataclass(frozen=True)
class Picture:
    """An SVG with what it shows in words, and where its numbers come from."""

    name: str
    title: str
    source: str
    svg: str


def pictures(entries: Sequence[Entry], rows: Sequence[Row]) -> list[Picture]:
    """What can be drawn from the rows that are there."""
    drawn = [_cost(p, found) for p, found in by_protocol(list(entries)).items()]
    return [p for p in [*_timed(rows), *drawn, _missing(rows), *_epochs(rows)] if p is not None]


def _cost(protocol: str, entries: Sequence[Entry]) -> Picture | None:
    """Quality against seconds of training: the twelve best."""
    dots = {}
    for e in entries:
        cell, seconds = e.cell("recall@20"), e.training("seconds")
        if e.has("recall@20") and seconds is not None and len(dots) < 12:
            values = [row["test"]["all"]["recall@20"] for row in e.rows]
            dots[e.experiment] = Dot(seconds, cell.mean, min(values), max(values))
    if len(dots) < 3:
        return None
    svg = _svg(draw_dots(dots, "seconds of training", "Recall@20 on test"))
    return Picture(
        f"cost-{protocol}",
        f"Quality against time: {protocol}",
        "rows of this protocol; bars end at the lowest and highest seed",
        svg,
    )


def _timed(rows: Sequence[Row]) -> list[Picture]:
    """Quality after so many seconds: a line a model, a mark where it is not trained."""
    out = []
    for data, points in curves(list(rows)).items():
        lines: dict[str, list[Dot]] = {}
        for row in points:
            lines.setdefault(row["impl"], []).append(Dot(row["seconds"], row["recall@20"]))
        figure = draw_lines(lines, "seconds", "Recall@20 on test")
        figure.axes[0].set_xscale("log")
        source = f"``{points[0]['command']}``"
        out.append(Picture(f"time-{data}", f"Time to quality: {data}", source, _svg(figure)))
    return out


def _missing(rows: Sequence[Row]) -> Picture | None:
    """Recall@20 of new videos over the share of modalities that are missing."""
    lines = {r["model"]: [Dot(x, y) for x, y in zip(r["rates"], r["recall@20"])] for r in rows if "rates" in r}
    if not lines:
        return None
    svg = _svg(draw_lines(lines, "share of modalities missing", "Recall@20 of new videos"))
    return Picture("missing", "Modalities that are missing", "benchmarks/results/cold_start.jsonl", svg)


def _epochs(rows: Sequence[Row]) -> list[Picture]:
    """A bar an implementation, one picture a model and data set, of the newest rows."""
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in sorted((r for r in rows if str(r.get("op")).startswith("epoch-")), key=lambda r: r["date"]):
        groups.setdefault((row["op"].removeprefix("epoch-"), row["shape"]), {})[row["impl"]] = row
    out = []
    for (model, shape), found in groups.items():
        bars = {name: row["ms"] / 1000 for name, row in sorted(found.items(), key=lambda item: item[1]["ms"])}
        title = f"Seconds an epoch: {model} on {shape}"
        out.append(Picture(f"epoch-{model}-{shape}", title, "benchmarks/results/epochs.jsonl", bar_chart(title, bars)))
    return out


def bar_chart(title: str, bars: dict[str, float]) -> str:
    """Horizontal bars with their numbers; lengths are proportional to the values.

    Raises:
        ValueError: no bar, or a value that is not positive.
    """
    if not bars or min(bars.values()) <= 0:
        raise ValueError(f"{title}: bars need positive values")
    left, full, step = 150, 300, 26
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 540 {step * len(bars) + 10}" role="img" width="540"',
        f'  font-family="sans-serif" font-size="13"><title>{html.escape(title)}</title>',
    ]
    for place, (name, value) in enumerate(bars.items()):
        y, wide = 5 + place * step, full * value / max(bars.values())
        colour = BARS["mmgraph" if name.startswith("mmgraph") else "other"]
        lines += [
            f'<text x="{left - 8}" y="{y + 16}" text-anchor="end" fill="{INK}">{html.escape(name)}</text>',
            f'<rect x="{left}" y="{y + 3}" width="{wide:.1f}" height="18" rx="2" fill="{colour}"/>',
            f'<text x="{left + wide + 6:.1f}" y="{y + 16}" fill="{INK}">{value:,.3g} s</text>',
        ]
    return "\n".join([*lines, "</svg>"])


def _svg(figure: Figure) -> str:
    """A figure of the library as SVG without ground, in an ink that both themes can carry."""

    longest = max((len(text.get_text()) for legend in figure.legends for text in legend.get_texts()), default=0)
    figure.set_size_inches(4.0 + longest / 12, 3.4)  # the legend stands beside the axes
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.tick_params(colors=INK, which="both")
        for text in (axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_color(INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.grid(True, color=INK, alpha=0.25, linewidth=0.6)
    for legend in figure.legends:
        for text in legend.get_texts():
            text.set_color(INK)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mmgraph"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def gallery(drawn: Sequence[Picture]) -> str:
    """The page: every picture with its source."""
    words = (
        "Drawn from the committed rows when this page is built, by the functions of :doc:`plots </plots>`. "
        "The report of a run, with clips and lists, is on the :doc:`first page </index>`.\n"
    )
    parts = [heading("Gallery"), words]
    for p in drawn:
        parts += [
            heading(p.title, "-"),
            f".. image:: gallery/{p.name}.svg\n   :alt: {p.title}\n   :class: picture\n",
            f"From {p.source}.\n",
        ]
    return "\n".join(parts)
