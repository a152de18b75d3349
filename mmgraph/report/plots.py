"""Plots for a paper: PNG, SVG or PGF, by matplotlib (``mmgraph[plots]``); the numbers first, then the drawing."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmgraph.data.files import write_atomically
from mmgraph.experiment.result import Result
from mmgraph.report.charts import COLOURS

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from mmgraph.audit import Audit

FORMATS = ("png", "svg", "pgf", "pdf")
_MARKERS = "osD^vP*Xhp<>"


@dataclass(frozen=True)
class Dot:
    """A place with an interval in y; ``low`` and ``high`` are NaN where there is none."""

    x: float
    y: float
    low: float = math.nan
    high: float = math.nan


def quality_against(
    results: Sequence[Result],
    by: Literal["seconds", "parameters"],
    metric: str = "recall@20",
    *,
    group: str = "all",
    stage: str = "test",
) -> dict[str, Dot]:
    """Experiment -> its mean metric over seeds at its mean cost; low and high are the lowest and highest seed.

    Args:
        results: of one protocol.
        by: ``seconds`` of training, or ``parameters``.
        metric, group, stage: what quality is.

    Raises:
        ValueError: none, several protocols, or a result that does not tell its cost.
        KeyError: a result without the metric.
    """
    out = {}
    for name, members in _by_experiment(results).items():
        costs = [result.training.get(by) for result in members]
        known = [float(cost) for cost in costs if cost is not None]
        if len(known) < len(members):
            raise ValueError(f"{name} does not say its {by}")
        values = [result.metric(metric, group, stage) for result in members]
        several = len(values) > 1
        low, high = (min(values), max(values)) if several else (math.nan, math.nan)
        out[name] = Dot(float(np.mean(known)), float(np.mean(values)), low, high)
    return out


def rank_intervals(
    results: Sequence[Result],
    metric: str = "recall@20",
    *,
    group: str = "all",
    stage: str = "test",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Dot]:
    """Experiment -> its rank (1 is the best) with the 95 % percentiles of its rank over bootstrap samples of the users.

    Equal means share the mean of their ranks. A user's values are averaged over seeds first, so other seeds are not in
    the interval.

    Args:
        results: of one protocol, with values a user.
        metric, group, stage: what is ranked.
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: fewer than two experiments, several protocols, or different users.
    """
    from scipy.stats import rankdata

    found = _by_experiment(results)
    if len(found) < 2:
        raise ValueError(f"ranks need at least two experiments, got {list(found)}")
    columns, users = [], None
    for name, members in found.items():
        values = []
        for result in members:
            frame = _one_a_user(result.per_user(group, stage), metric, name)
            if users is not None and frame["user"].to_list() != users:
                raise ValueError(f"{name} was measured on other users than {next(iter(found))}")
            users = frame["user"].to_list()
            values.append(frame[metric].to_numpy())
        columns.append(np.mean(values, 0))
    table = np.stack(columns, 1)
    table = table[~np.isnan(table).any(1)]
    chance = np.random.default_rng(seed)
    drawn = [table[chance.integers(0, len(table), len(table))].mean(0) for _ in range(resamples)]
    ranks = rankdata(-np.round(drawn, 12), axis=1)
    observed = rankdata(-np.round(table.mean(0), 12))
    low, high = np.percentile(ranks, (2.5, 97.5), axis=0)
    return {
        name: Dot(float(observed[i]), float(observed[i]), float(low[i]), float(high[i])) for i, name in enumerate(found)
    }


def _one_a_user(frame: pl.DataFrame, metric: str, name: str) -> pl.DataFrame:
    if metric not in frame.columns:
        raise KeyError(f"{name} has no {metric!r} a user; it has {frame.columns[1:]}")
    return frame.group_by("user").mean().sort("user").select("user", metric)


def missing_lines(audits: Mapping[str, Audit], how: str = "random", group: str = "every") -> dict[str, list[Dot]]:
    """Name -> the metric over the share of videos that lack a group's modalities, from audits; x from 0 (nothing lost).

    The interval is that of the loss against the whole, put at the value.

    Raises:
        ValueError: an audit without such rows, or of another metric or stage than the first.
    """
    out = {}
    judged = {(audit.metric, audit.stage) for audit in audits.values()}
    if len(judged) > 1:
        raise ValueError(f"the audits measure different things: {sorted(judged)}")
    for name, audit in audits.items():
        rows = [row for row in audit.missing if (row.how, row.group) == (how, group)]
        if not rows:
            there = sorted({(row.how, row.group) for row in audit.missing})
            raise ValueError(f"the audit of {name} has no {(how, group)}; it has {there}")
        line = [Dot(0.0, audit.full)]
        for row in rows:
            ends = (row.lost.high, row.lost.low)  # the more is lost, the lower the value
            low, high = (math.nan if end is None else audit.full - end for end in ends)
            line.append(Dot(row.rate, row.value, low, high))
        out[name] = line
    return out


def _by_experiment(results: Sequence[Result]) -> dict[str, list[Result]]:
    protocols = sorted({result.protocol for result in results})
    if len(protocols) != 1:
        raise ValueError(f"a plot is of one protocol, got {protocols or 'no results'}")
    out: dict[str, list[Result]] = {}
    for result in results:
        out.setdefault(result.experiment, []).append(result)
    return out


# --- drawing ----------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'mmgraph[plots]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")  # without pyplot: nothing of the process changes
    axes = figure.subplots()
    axes.grid(True, color="#d9dbe1", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": _MARKERS[number % len(_MARKERS)]}


def draw_dots(dots: Mapping[str, Dot], xlabel: str, ylabel: str) -> Figure:
    """A mark an experiment, costs on a logarithmic axis where they span more than a factor of 10."""
    figure, axes = _figure(5.4, 3.4)
    for number, (name, dot) in enumerate(dots.items()):
        error = None if math.isnan(dot.low) else [[dot.y - dot.low], [dot.high - dot.y]]
        style = _style(number) | {"linestyle": "none", "markersize": 7, "capsize": 3, "label": _plain(name)}
        axes.errorbar([dot.x], [dot.y], yerr=error, **style)
    xs = [dot.x for dot in dots.values()]
    if min(xs) > 0 and max(xs) / min(xs) > 10:
        axes.set_xscale("log")
    elif min(xs) == 0 and max(xs) > 10:
        axes.set_xscale("symlog", linthresh=1)  # models without parameters stand at 0
    axes.set(xlabel=_plain(xlabel), ylabel=_plain(ylabel))
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def draw_lines(lines: Mapping[str, Sequence[Dot]], xlabel: str, ylabel: str, ticks: Sequence[str] = ()) -> Figure:
    """A line a model with its interval as a band; ``ticks`` name the places where x counts ranges."""
    figure, axes = _figure(5.4, 3.4)
    for number, (name, dots) in enumerate(lines.items()):
        x, y, low, high = (np.array([getattr(dot, part) for dot in dots]) for part in ("x", "y", "low", "high"))
        axes.plot(x, y, **_style(number), markersize=5, linewidth=1.6, label=_plain(name))
        known = ~np.isnan(low)
        axes.fill_between(x[known], low[known], high[known], color=_style(number)["color"], alpha=0.15, linewidth=0)
    if ticks:
        axes.set_xticks(range(len(ticks)), [_plain(t) for t in ticks], rotation=40, ha="right", fontsize="small")
    axes.set(xlabel=_plain(xlabel), ylabel=_plain(ylabel))
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def draw_ranks(ranks: Mapping[str, Dot], xlabel: str) -> Figure:
    """Ranks with their intervals, the best at the top."""
    ordered = sorted(ranks.items(), key=lambda item: (item[1].y, item[0]))
    figure, axes = _figure(5.4, 0.9 + 0.32 * len(ordered))
    for place, (_, dot) in enumerate(ordered):
        spread = [[dot.y - dot.low], [dot.high - dot.y]]
        axes.errorbar([dot.y], [place], xerr=spread, fmt="o", color=COLOURS[0], markersize=6, capsize=3)
    axes.set_yticks(range(len(ordered)), [_plain(name) for name, _ in ordered])
    axes.set_xticks(range(1, len(ordered) + 1))
    axes.set_xlim(0.6, len(ordered) + 0.4)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.set_xlabel(_plain(xlabel))
    return figure


def _plain(text: str) -> str:
    """Names as they are: a dollar would begin mathematics."""
    return text.replace("$", r"\$")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure whole or not at all; its ending says the format. The same figure gives the same SVG.

    Raises:
        ValueError: an ending other than png, svg, pgf or pdf.
        RuntimeError: PGF without a TeX engine, which measures its text.
    """
    import matplotlib

    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ValueError(f"{path.name}: end it with {', '.join('.' + name for name in FORMATS)}")
    buffer = io.BytesIO()
    settings: Any = {"svg.hashsalt": "mmgraph", "pgf.texsystem": "pdflatex", "pgf.rcfonts": False}
    undated: Any = {"svg": {"metadata": {"Date": None}}, "pdf": {"metadata": {"CreationDate": None}}}.get(kind, {})
    try:
        with matplotlib.rc_context(settings):
            figure.savefig(buffer, format=kind, dpi=200, **undated)
    except (FileNotFoundError, RuntimeError) as error:
        if kind == "pgf":
            raise RuntimeError(f"{path.name}: PGF needs pdflatex, which measures the text: {error}") from None
        raise
    write_atomically(path, buffer.getvalue())
    return path
