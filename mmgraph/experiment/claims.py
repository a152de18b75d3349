"""The ledger of published numbers: who printed what, how it was chosen, ours beside it, and what can be told apart.

A ledger is a TOML file. Each ``[[table]]`` is what one source prints about one dataset; each ``[dataset.NAME]`` says
which difference its test can detect::

    [dataset.Gowalla]
    detectable = {"recall@20" = 0.0020}
    measured = "two filters, 29,858 users"

    [[table]]
    paper = "LightGCN, SIGIR 2020"
    place = "table 3"
    dataset = "Gowalla"
    protocol = "gowalla-lightgcn"
    by = "authors"
    chosen = "on test"
    metrics = ["recall@20", "ndcg@20"]
    rows = [["LightGCN", 0.1830, 0.1554]]
    ours = {LightGCN = "gowalla-lightgcn"}
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Literal

from pydantic import Field, model_validator

from mmgraph.config import Config, SettingError
from mmgraph.experiment.result import Result

Chosen = Literal["on test", "on valid", "nothing to choose", "not said"]


class ClaimTable(Config):
    """What one source prints about one dataset.

    Attributes:
        paper: the source: a paper with venue and year, or a repository.
        place: the table, log file or figure in it.
        dataset: its name.
        protocol: our name of the split where it is the same users, videos and masks; otherwise a name of its own.
        by: ``authors`` of the model, ``others`` who ran it again, or ``mixed``.
        chosen: on what its epoch or setting was chosen.
        metrics: columns, in our names.
        rows: model, then one number a column.
        ours: model -> our experiment beside it, where we have one.
        recalled: True where the numbers were written from memory and have to be looked up.
        note: what else a reader has to know.
    """

    paper: str = Field(min_length=3)
    place: str = Field(min_length=3)
    dataset: str
    protocol: str
    by: Literal["authors", "others", "mixed"]
    chosen: Chosen
    metrics: tuple[str, ...] = Field(min_length=1)
    rows: tuple[tuple[str | float, ...], ...] = Field(min_length=1)
    ours: dict[str, str] = Field(default_factory=dict)
    recalled: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _rows_fit(self) -> ClaimTable:
        names = [row[0] for row in self.rows]
        if twice := sorted({str(name) for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.paper}, {self.dataset}: {twice} come twice")
        for row in self.rows:
            fits = isinstance(row[0], str) and all(isinstance(value, float) and 0 < value < 1 for value in row[1:])
            if not fits or len(row) != len(self.metrics) + 1:
                raise ValueError(
                    f"{self.paper}, {self.dataset}: a row is a model and {len(self.metrics)} numbers between 0 and 1, "
                    f"got {list(row)}"
                )
        if unknown := sorted(set(self.ours) - set(names)):
            raise ValueError(f"{self.paper}, {self.dataset}: ours names {unknown}, which it does not print")
        return self


class Detectable(Config):
    """What a dataset's test can tell apart.

    Attributes:
        detectable: metric -> smallest difference between two models that is found in 80 % of all cases.
        measured: from what.
    """

    detectable: dict[str, float]
    measured: str


class Ledger(Config):
    """All of a file.

    Attributes:
        dataset: name -> what its test can tell apart.
        table: the sources.
    """

    dataset: dict[str, Detectable] = Field(default_factory=dict)
    table: tuple[ClaimTable, ...] = ()

    def claims(self) -> list[Claim]:
        """Every number of every table."""
        return [
            Claim(table, str(row[0]), {m: float(v) for m, v in zip(table.metrics, row[1:], strict=True)})
            for table in self.table
            for row in table.rows
        ]


@dataclass(frozen=True)
class Claim:
    """One row of one source.

    Attributes:
        table: where it stands.
        model: its name.
        numbers: metric -> number.
    """

    table: ClaimTable
    model: str
    numbers: dict[str, float]

    @property
    def name(self) -> str:
        """The row's name beside rows of ours."""
        return f"{self.model}, {self.table.paper}"


def read_ledger(path: str | Path) -> Ledger:
    """Reads and checks a ledger.

    Raises:
        SettingError: (a ValueError) an unknown field, a row that does not fit its columns, no TOML.
        FileNotFoundError: no such file.
    """
    content = Path(path).read_text()
    try:
        return Ledger.model_validate(tomllib.loads(content))
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is no TOML: {error}") from None


def copied(claims: Sequence[Claim]) -> list[tuple[Claim, Claim]]:
    """Pairs of rows, of one model by two sources or on two datasets, whose numbers are the same to the last digit.

    Two numbers at least: a single one of four digits agrees by chance. Whoever ran a model again and got every digit of
    another paper did not run it, or ran it with the same code, seed and data; a model has no two datasets alike.
    """
    out = []
    for place, a in enumerate(claims):
        for b in claims[place + 1 :]:
            both = a.numbers.keys() & b.numbers.keys()
            elsewhere = (a.table.paper, a.table.dataset) != (b.table.paper, b.table.dataset)
            same = len(both) > 1 and all(a.numbers[metric] == b.numbers[metric] for metric in both)
            if a.model == b.model and elsewhere and same:
                out.append((a, b))
    return out


@dataclass(frozen=True)
class Near:
    """The best number of each model under one protocol, in order, and how many of the steps are too small to tell.

    Attributes:
        dataset, protocol, metric: of what.
        models: how many.
        steps: between neighbours in that order that are smaller than ``detectable``; of ``models - 1``.
        top: models whose best number is within ``detectable`` of the highest, the highest among them.
    """

    dataset: str
    protocol: str
    metric: str
    models: int
    steps: int
    top: tuple[str, ...]


def near(ledger: Ledger) -> list[Near]:
    """For each protocol of a dataset with ``detectable``: how much of the published order its test can tell at all."""
    best: dict[tuple[str, str, str], dict[str, float]] = {}
    for claim in ledger.claims():
        for metric, number in claim.numbers.items():
            of = best.setdefault((claim.table.dataset, claim.table.protocol, metric), {})
            of[claim.model] = max(number, of.get(claim.model, 0.0))
    out = []
    for (dataset, protocol, metric), of in best.items():
        least = ledger.dataset[dataset].detectable.get(metric) if dataset in ledger.dataset else None
        if least is not None:
            order = sorted(of, key=lambda model: -of[model])
            steps = sum(of[a] - of[b] < least for a, b in itertools.pairwise(order))
            top = tuple(model for model in order if of[order[0]] - of[model] < least)
            out.append(Near(dataset, protocol, metric, len(of), steps, top))
    return out


@dataclass(frozen=True)
class Beside:
    """A published number and ours.

    Attributes:
        claim: the row.
        metric: the column.
        published, ours: the numbers; ours is the mean over ``seeds`` seeds.
        seeds: how many.
        detectable: smallest difference that this dataset's test can tell; None where it was not measured.
        comparable: whether ours was measured under the protocol of the row.
    """

    claim: Claim
    metric: str
    published: float
    ours: float
    seeds: int
    detectable: float | None
    comparable: bool

    @property
    def verdict(self) -> str:
        """``above``, ``below`` or ``not told apart``; ``unknown`` without a measured ``detectable``.

        The published side has no values of its users, so this is no test: a difference below the detectable one is
        called nothing, whatever its sign.
        """
        if not self.comparable:
            return "other protocol"
        if self.detectable is None:
            return "unknown"
        if abs(self.ours - self.published) < self.detectable:
            return "not told apart"
        return "above" if self.ours > self.published else "below"


def beside(ledger: Ledger, results: Iterable[Result], group: str = "all") -> list[Beside]:
    """Every claim whose table names an experiment of ours that is among the results.

    Args:
        ledger: the claims.
        results: ours, such as the committed extracts.
        group: of ours.
    """
    mine: dict[str, list[Result]] = {}
    for result in results:
        mine.setdefault(result.experiment, []).append(result)
    out = []
    for claim in ledger.claims():
        for metric, published in claim.numbers.items():
            seeds = mine.get(claim.table.ours.get(claim.model, ""), [])
            told = [r.test[group][metric] for r in seeds if metric in r.test.get(group, {})]
            if told:
                known = ledger.dataset.get(claim.table.dataset)
                least = known.detectable.get(metric) if known else None
                same = all(is_protocol(claim, r.protocol) for r in seeds)
                out.append(Beside(claim, metric, published, mean(told), len(told), least, same))
    return out


def is_protocol(claim: Claim, protocol: str) -> bool:
    """Whether a claim was measured under a protocol: its id is the name with a hash behind."""
    return protocol == claim.table.protocol or protocol.rpartition("-")[0] == claim.table.protocol


def quoted(ledger: Ledger, protocol: str) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """``published`` and ``chosen`` of :func:`mmgraph.experiment.table`: the claims under a protocol id."""
    rows = [claim for claim in ledger.claims() if is_protocol(claim, protocol)]
    return {c.name: c.numbers for c in rows}, {c.name: c.table.chosen for c in rows}
