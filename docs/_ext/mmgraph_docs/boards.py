"""Committed results as tables: of one model, and of all under one protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmgraph.experiment import Ledger, quoted
from mmgraph.experiment.tables import Cell
from mmgraph_docs.rows import Entry, Row, by_protocol, commit_of, curves
from mmgraph_docs.text import heading, plain, table

METRICS = ("recall@20", "ndcg@20")
NEW = r"new videos: Recall\@20"
SHOWN = {"recall@20": r"Recall\@20", "ndcg@20": r"NDCG\@20"}


def leaderboard(entries: Sequence[Entry], rows: Sequence[Row], ledger: Ledger, models: frozenset[str]) -> str:
    """Every committed result, one table a protocol, with what papers print under the same one."""
    words = (
        "From ``benchmarks/results``: test, mean ± standard deviation over seeds (none for one), full ranking.\n"
        "Compare within one protocol only; a smaller difference than seeds make is none. *Opened*: how often the row's "
        "test had been opened. *Chosen by*: the metric on valid that chose the epoch, – where nothing was trained; "
        "*searched* settings were found on valid, the others stand in the recipes, and :doc:`results </results>` says "
        "how they came. Quoted rows are what papers print, chosen on what their code or logs show. A "
        "``+`` behind a commit says that files had been changed since.\n"
    )
    parts = [heading("Leaderboard"), words]
    for protocol, found in by_protocol(list(entries)).items():
        parts += [f".. _protocol-{protocol}:\n", heading(protocol, "-"), _about(found), _board(found, ledger, models)]
    for data, points in curves(list(rows)).items():
        parts += [f".. _curve-{data}:\n", heading(f"{data}: time to quality", "-"), _timed(data, points, ledger)]
    return "\n".join(parts)


def _timed(data: str, points: Sequence[Row], ledger: Ledger) -> str:
    """Points of a curve, and what papers print of the same split."""
    published, chosen = quoted(ledger, f"{data}-published")
    body = [
        [f"*{name}*", *(Cell(found.get(m, math.nan), math.nan).text() for m in METRICS), chosen[name]]
        for name, found in published.items()
    ]
    words = (
        f"By ``{points[0]['command']}``: the published split, settings and epochs fixed before the test was ranked, "
        "one seed, seconds of building the graph and training. A point is what so many epochs reach; – is untrained.\n"
    )
    quotes = table(["quoted", *(SHOWN[m] for m in METRICS), "chosen"], body) if body else ""
    return "\n".join([words, _curve(points), quotes])


def _about(entries: Sequence[Entry]) -> str:
    data = entries[0].rows[0]["data"]
    sizes = ", ".join(f"{data[n]:,} {n}" for n in ("users", "videos", "train", "valid", "test") if n in data)
    rows = [r for e in entries for r in e.rows]
    where = sorted({r["environment"]["hardware"]["cpu"] for r in rows})
    commits = sorted({commit_of(r["environment"]) for r in rows})
    method = data["protocol"]["method"]
    return f"{data['name']}, {sizes}; ``{method}``. On {', '.join(where)}, at {', '.join(commits)}.\n"


def _board(entries: Sequence[Entry], ledger: Ledger, models: frozenset[str]) -> str:
    cold = any(e.has(METRICS[0], "cold") for e in entries)
    head = ["row", "model", *(SHOWN[m] for m in METRICS), *([NEW] if cold else [])]
    head += ["seeds", "seconds", "chosen by", "opened"]
    body = []
    for e in entries:
        link = f":doc:`{e.model} <models/{e.model}>`" if e.model in models else e.model
        more = _new(e) if cold else []
        body.append([e.experiment, link, *_numbers(e), *more, str(len(e.rows)), _seconds(e), _chosen(e), str(e.opened)])
    published, chosen = quoted(ledger, entries[0].protocol)
    for name, numbers in published.items():
        cells = [Cell(numbers.get(m, math.nan), math.nan).text() for m in METRICS]
        more = ["–"] if cold else []
        body.append([f"*{name}*", "quoted", *cells, *more, "–", "–", chosen[name], "–"])
    return table(head, body)


def _seconds(entry: Entry) -> str:
    seconds = entry.training("seconds")
    return "–" if seconds is None else f"{seconds:.2g}" if seconds < 10 else f"{seconds:,.0f}"


def results(entries: Sequence[Entry], points: Sequence[Row] = ()) -> str:
    """The committed rows of one model, and its points of time to quality."""
    time = (
        f"\nQuality on test after so many seconds, by ``{points[0]['command']}``.\n\n{_curve(points)}" if points else ""
    )
    return _seeds(entries) + time if entries else time or "No committed row yet.\n"


def _seeds(entries: Sequence[Entry]) -> str:
    body = [
        [
            f":ref:`{e.protocol} <protocol-{e.protocol}>`",
            e.experiment,
            *_numbers(e),
            *_new(e),
            str(len(e.rows)),
            _chosen(e),
        ]
        for found in by_protocol(list(entries)).values()
        for e in found
    ]
    head = ["protocol", "row", *(SHOWN[m] for m in METRICS), NEW, "seeds", "chosen by"]
    return "On test, mean ± standard deviation over seeds.\n\n" + table(head, body)


def _curve(points: Sequence[Row]) -> str:
    """Quality on test after so many seconds."""
    head = ["data", "row", "epochs", "seconds", *(SHOWN[m] for m in METRICS), "hardware", "commit"]
    body = [
        [
            *(r["data"], r["impl"], str(r["epochs"] or "–"), f"{r['seconds']:,}"),
            *(f"{r[m]:.4f}".removeprefix("0") for m in METRICS),
            *(r["hardware"], commit_of(r)),
        ]
        for r in points
    ]
    return table(head, body)


def _numbers(entry: Entry) -> list[str]:
    return [_unbroken(entry.cell(m)) for m in METRICS]


def _new(entry: Entry) -> list[str]:
    return [_unbroken(entry.cell(METRICS[0], "cold"))]


def _unbroken(cell: Cell) -> str:
    return cell.text().replace(" ", "\N{NO-BREAK SPACE}")


def _chosen(entry: Entry) -> str:
    return plain(", ".join(how for how in ("searched" if entry.searched else "", entry.epoch_by) if how) or "–")
