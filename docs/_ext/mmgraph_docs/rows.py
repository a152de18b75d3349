"""The committed result rows, as they are shown: one entry an experiment and protocol, averaged over seeds."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgraph.experiment.tables import Cell

Row = dict[str, Any]


def commit_of(about: Row) -> str:
    """The commit of a row's environment, ``+`` where files had been changed since."""
    return about["commit"][:7] + ("+" if about.get("changed_since_commit") else "")


@dataclass(frozen=True)
class Entry:
    """The seeds of one experiment under one protocol."""

    rows: tuple[Row, ...]

    @property
    def experiment(self) -> str:
        """Its name."""
        return self.rows[0]["experiment"]

    @property
    def protocol(self) -> str:
        """Under which its numbers compare."""
        return self.rows[0]["protocol"]

    @property
    def model(self) -> str:
        """The class's name."""
        return self.rows[0]["config"]["model"].split(":")[-1]

    @property
    def opened(self) -> int:
        """How often this experiment's test had been opened at its last run."""
        return max(len(row["openings"]) for row in self.rows)

    def has(self, metric: str, group: str = "all") -> bool:
        """Whether every seed has the metric."""
        return all(metric in row["test"].get(group, {}) for row in self.rows)

    def cell(self, metric: str, group: str = "all") -> Cell:
        """On test: mean and standard deviation over seeds; NaN where a seed lacks it."""
        if not self.has(metric, group):
            return Cell(math.nan, math.nan)
        return _cell([row["test"][group][metric] for row in self.rows])

    def training(self, name: str) -> float | None:
        """The mean of ``seconds`` or ``parameters``; None where a row does not say."""
        values = [row["training"].get(name) for row in self.rows]
        return None if None in values else statistics.fmean(values)

    @property
    def searched(self) -> bool:
        """Whether its setting is the best of a search on valid, as ``mmgraph tune`` names it."""
        return self.experiment.endswith("-tuned")

    @property
    def epoch_by(self) -> str:
        """The metric on valid that chose the epoch; empty where nothing was trained."""
        how = self.rows[0]["training"]  # epochs count from 0; -1 where nothing was validated
        trained = how.get("stopped") != "closed form" and how.get("best_epoch", -1) >= 0
        return self.rows[0]["config"]["fit"]["monitor"] if trained else ""


def _cell(values: list[float]) -> Cell:
    return Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan)


def read_rows(folder: Path) -> list[Row]:
    """Every line of every file of the folder.

    Raises:
        ValueError: a line is no JSON object; the file and line are named.
    """
    out = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path.name}:{number}: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path.name}:{number}: no JSON object")
            out.append(row)
    return out


def entries(rows: list[Row]) -> list[Entry]:
    """Result rows by protocol and experiment, in their order; rows of other benchmarks are passed over.

    Raises:
        ValueError: an experiment has one seed twice under a protocol.
    """
    members: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if "experiment" in row and "protocol" in row:
            members.setdefault((row["protocol"], row["experiment"]), []).append(row)
    for (protocol, name), found in members.items():
        if len({row["seed"] for row in found}) < len(found):
            raise ValueError(f"{name} under {protocol}: a seed twice")
    return [Entry(tuple(found)) for found in members.values()]


def by_protocol(every: list[Entry], metric: str = "recall@20") -> dict[str, list[Entry]]:
    """Protocol -> its entries, the highest mean first; where the metric is missing, last."""
    out: dict[str, list[Entry]] = {}
    for entry in every:
        out.setdefault(entry.protocol, []).append(entry)
    for found in out.values():
        found.sort(key=lambda e: -e.cell(metric).mean if e.has(metric) else math.inf)
    return dict(sorted(out.items()))


def epoch_costs(rows: list[Row], model: str) -> list[Row]:
    """The newest timed epochs of a model at each shape: one row an implementation, this library's own first."""
    mine = [row for row in rows if row.get("op") == f"epoch-{model.lower()}"]
    newest = {(row["shape"], row["impl"]): row for row in sorted(mine, key=lambda r: r["date"])}
    return sorted(newest.values(), key=lambda r: (r["shape"], not r["impl"].startswith("mmgraph"), r["impl"]))


def curves(rows: list[Row]) -> dict[str, list[Row]]:
    """Quality on test after so many seconds: data set -> its points, the newest of each, by implementation and time."""
    newest: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        if row.get("stage") == "test" and {"impl", "data", "epochs", "seconds", "recall@20"} <= row.keys():
            newest[row["data"], row["impl"], row["epochs"]] = row
    out: dict[str, list[Row]] = {}
    for row in newest.values():
        out.setdefault(row["data"], []).append(row)
    return {data: sorted(found, key=lambda r: (r["impl"], r["seconds"])) for data, found in sorted(out.items())}


def is_curve_of(row: Row, model: str) -> bool:
    """Whether a point is of a model: its implementation is named after it, in lower case."""
    return row["impl"].split("-")[0] == model.lower()
