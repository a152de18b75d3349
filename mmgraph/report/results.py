"""The results of a report: table, tiles and curves, from results on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from mmgraph.experiment.result import Result
from mmgraph.report.content import Column, Curve, Row, Table

Tile = tuple[str, str, str]


def cut_off(result: Result) -> int:
    """20 where it was measured, else the largest there is.

    Raises:
        ValueError: no recall was measured, so a report has nothing to show.
    """
    ks = sorted(int(name.removeprefix("recall@")) for name in result.test["all"] if name.startswith("recall@"))
    if not ks:
        raise ValueError(f"{result.experiment}: no recall was measured; there are {sorted(result.test['all'])}")
    return 20 if 20 in ks else ks[-1]


def columns_at(k: int) -> dict[str, Column]:
    """Metric -> column: the one list that a person gets, and how known and new videos fare in it.

    The last is of another list, of new videos alone: ``GROUP/METRIC`` names a metric of another group than ``all``.
    """
    return {
        f"recall@{k}": Column("All", f"Recall@{k}"),
        f"recall_known@{k}": Column("Known", f"Recall@{k}"),
        f"recall_new@{k}": Column("New", f"Recall@{k}"),
        f"new_share@{k}": Column("New in lists", "share of the list", share=True, best=False),
        f"new_shown@{k}": Column("New shown", "to somebody", share=True),
        f"cold/recall@{k}": Column("New among new", f"Recall@{k}"),
    }


def mean_metric(results: Sequence[Result], metric: str) -> float | None:
    """Mean over the seeds of one experiment, on test; None where it was not measured or is undefined.

    Args:
        results: of one experiment.
        metric: of the group ``all``, or ``GROUP/METRIC``.
    """
    group, _, name = metric.rpartition("/")
    values = [result.test.get(group or "all", {}).get(name, math.nan) for result in results]
    return fmean(values) if values and all(map(math.isfinite, values)) else None


def by_experiment(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Experiment -> its results, in the order they come."""
    out: dict[str, list[Result]] = {}
    for result in results:
        out.setdefault(result.experiment, []).append(result)
    return out


def model_name(result: Result) -> str:
    """The class of the model: ``ContentVAE``."""
    named = result.config.get("model", "")
    named = named.get("name", "") if isinstance(named, Mapping) else str(named)
    return named.rpartition(":")[2].rpartition(".")[2] or "model"


def results_table(
    results: Sequence[Result],
    main: str,
    *,
    ceiling: str | None = None,
    names: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Table:
    """Every experiment of one protocol: the ceiling, the main one, then the others, best first.

    Args:
        results: any number of experiments and seeds; means over seeds are shown.
        main: the experiment that the report is about.
        ceiling: the experiment that no model can beat, where a world has one.
        names: experiment -> what to call it; by default its own name.
        notes: experiment -> a line about it; by default its model's class.
    """
    groups = by_experiment(results)
    k = cut_off(groups[main][0])
    known = {m: c for m, c in columns_at(k).items() if any(mean_metric(r, m) is not None for r in groups.values())}
    kinds = {name: "baseline" for name in groups} | {main: "model"} | ({ceiling: "ceiling"} if ceiling else {})
    place = {"ceiling": 0, "model": 1, "baseline": 2}
    order = sorted(groups, key=lambda name: (place[kinds[name]], -(mean_metric(groups[name], f"recall@{k}") or 0.0)))
    rows = []
    for name in order:
        members = groups[name]
        seeds = f", mean of {len(members)} seeds" if len(members) > 1 else ""
        note = (notes or {}).get(name, model_name(members[0]) if model_name(members[0]) != name else "")
        shown = (names or {}).get(name, name)
        rows.append(
            Row(shown, (note + seeds).removeprefix(", "), kinds[name], [mean_metric(members, m) for m in known])
        )
    about = f"Test, each user's one list of {k} among all videos they have not seen."
    if len(known) > 1:
        about += " Known: videos that somebody clicked in training; new: nobody did."
    if f"cold/recall@{k}" in known:
        about += " New among new: the same people's lists of new videos alone."
    if len(known) > 1:
        about += " Bold: the highest of a column, the ceiling aside."
    return Table(list(known.values()), rows, about)


def tiles(
    results: Sequence[Result], main: str, *, ceiling: str | None = None, names: Mapping[str, str] | None = None
) -> list[Tile]:
    """The figures at the top: size, recall, how much of the ceiling it is, and how new videos fare in the lists."""
    groups = by_experiment(results)
    first = groups[main][0]
    k, data = cut_off(first), first.data
    known = {name: mean_metric(members, f"recall@{k}") or 0.0 for name, members in groups.items()}
    others = {name: value for name, value in known.items() if name not in (main, ceiling)}
    best = max(others, key=lambda name: others[name], default=None)
    beside = (
        "" if best is None else f"on test; the best beside it, {(names or {}).get(best, best)}, has {others[best]:.3f}"
    )
    out = [
        (f"{data['videos']:,}", "videos", f"{data['users']:,} users, {data['train']:,} clicks to train on"),
        (f"{known[main]:.3f}", f"Recall@{k}", beside or "on test"),
    ]
    if ceiling is not None and known.get(ceiling):
        reached = f"Recall@{k} {known[main]:.3f} of the {known[ceiling]:.3f} that lists of true preference reach"
        out.append((f"{known[main] / known[ceiling]:.0%}", "of the known ceiling", reached))
    share = mean_metric(groups[main], f"new_share@{k}")
    if share is not None:
        ideal = None if ceiling is None else mean_metric(groups.get(ceiling, []), f"new_share@{k}")
        more = "videos that nobody in training clicked"
        more += f"; of the ideal lists {ideal:.0%}" if ideal is not None else ""
        out.append((f"{share:.0%}", "of the lists is new", more))
    shown = mean_metric(groups[main], f"new_shown@{k}")
    if shown is not None:
        out.append((f"{shown:.0%}", "of the new videos", f"are in somebody's list of {k}"))
    return out


def curves(folder: str | Path, result: Result) -> list[Curve]:
    """Losses and the validated metric over epochs, from the run's ``log.jsonl``; none for a model in closed form."""
    path = Path(folder) / "log.jsonl"
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = [row for row in rows if isinstance(row, dict) and "epoch" in row]
    if len(rows) < 2:
        return []
    best = float(result.training.get("best_epoch", -1))
    monitor = str(result.config.get("fit", {}).get("monitor", ""))
    wanted = {key: key.removeprefix("loss/") for key in rows[0] if key.startswith("loss/") and key != "loss/l2"}
    titles = {key: "Loss" if len(wanted) == 1 else f"Loss: {name}" for key, name in wanted.items()}
    titles[monitor] = f"{monitor} on valid"
    drawn = {key: [row for row in rows if isinstance(row.get(key), (int, float))] for key in titles}
    return [
        Curve(titles[key], [row["epoch"] for row in known], [row[key] for row in known], best)
        for key, known in drawn.items()
        if len(known) > 1
    ]
