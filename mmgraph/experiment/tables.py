"""Tables of results: mean ± standard deviation over seeds, for a terminal, Markdown or LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmgraph.experiment.result import Result

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean over seeds, and their standard deviation (n - 1; NaN for one seed)."""

    mean: float
    std: float

    def text(self, plus_minus: str = "±") -> str:
        """``.0814 ± .0006``, or ``.0814`` for one seed, or ``–`` where the metric is missing."""
        if math.isnan(self.mean):
            return "–"
        spread = "" if math.isnan(self.std) else f" {plus_minus} {_digits(self.std)}"
        return _digits(self.mean) + spread


def _digits(number: float) -> str:
    text = f"{number:.4f}" if abs(number) < 100 else f"{number:,.0f}"
    return text.removeprefix("0") if text.startswith("0.") else text


@dataclass(frozen=True)
class ResultTable:
    """One row an experiment, one column a metric.

    Attributes:
        title: protocol, stage and group.
        metrics: the columns.
        rows: experiment -> cells, in the order given.
        seeds: experiment -> number of seeds.
    """

    title: str
    metrics: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]
    seeds: dict[str, int]

    def _best(self, column: int) -> set[str]:
        """The rows with the highest mean; several where they are equal, none in a table of one row."""
        known = {name: cells[column].mean for name, cells in self.rows.items() if not math.isnan(cells[column].mean)}
        return {name for name, mean in known.items() if mean == max(known.values())} if len(known) > 1 else set()

    def _grid(self, bold: str, plus_minus: str) -> Iterable[list[str]]:
        best = [self._best(i) for i in range(len(self.metrics))]
        for name, cells in self.rows.items():
            texts = [cell.text(plus_minus) for cell in cells]
            marked = [bold.format(t) if name in best[i] else t for i, t in enumerate(texts)]
            count = self.seeds[name]
            yield [name, *marked, str(count) if count else "–"]

    def markdown(self) -> str:
        """A Markdown table; the highest of each column in bold."""
        head = ["model", *self.metrics, "seeds"]
        lines = [head, ["---"] + ["---:"] * (len(head) - 1), *self._grid("**{}**", "±")]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def latex(self) -> str:
        r"""A ``tabular`` for the booktabs package; the highest of each column in bold."""
        columns = "l" + "r" * (len(self.metrics) + 1)
        body = [
            " & ".join([_escape(line[0]), *(f"${cell}$" if cell != "–" else "--" for cell in line[1:])]) + r" \\"
            for line in self._grid(r"\mathbf{{{}}}", r"\pm")
        ]
        head = " & ".join(["model", *map(_escape, self.metrics), "seeds"]) + r" \\"
        return "\n".join(
            [
                f"% {self.title}",
                rf"\begin{{tabular}}{{{columns}}}",
                *(r"\toprule", head, r"\midrule"),
                *body,
                *(r"\bottomrule", r"\end{tabular}"),
            ]
        )

    def rich(self) -> Table:
        """A ``rich`` table for the terminal."""
        from rich.table import Table

        out = Table(title=self.title, title_justify="left")
        out.add_column("model")
        for name in (*self.metrics, "seeds"):
            out.add_column(name, justify="right")
        for line in self._grid("[bold]{}[/bold]", "±"):
            out.add_row(*line)
        return out

    def to_pandas(self) -> pd.DataFrame:
        """One row an experiment: ``model``, each metric's mean and ``<metric> std``, ``seeds``; needs no pyarrow.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        rows = []
        for name, cells in self.rows.items():
            row: dict[str, Any] = {"model": name}
            for metric, cell in zip(self.metrics, cells, strict=True):
                row |= {metric: cell.mean, f"{metric} std": cell.std}
            rows.append(row | {"seeds": self.seeds[name]})
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """The table as notebooks show it; the highest of each column in bold."""
        from html import escape

        head = "".join(f"<th>{escape(name)}</th>" for name in ("model", *self.metrics, "seeds"))
        lines = [[escape(cell) for cell in line] for line in self._grid("\x02{}\x03", "±")]
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
        body = body.replace("\x02", "<b>").replace("\x03", "</b>")
        return f"<p>{escape(self.title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __str__(self) -> str:
        return self.markdown()


def table(
    results: Sequence[Result],
    metrics: Sequence[str] = ("recall@20", "ndcg@20"),
    *,
    group: str = "all",
    stage: str = "test",
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> ResultTable:
    """Groups results by experiment, in the order they come, and averages over seeds.

    Args:
        results: any number of experiments and seeds, of one protocol.
        metrics: columns.
        group: ``all``, ``warm``, ``cold`` or ``activity_1`` …
        stage: ``"test"`` or ``"valid"``.
        published: further rows with numbers from papers: name -> metric -> number. They carry no seeds.

    Raises:
        ValueError: no results, more than one protocol, or a seed that comes twice.
        KeyError: a metric or group that a result does not have.
    """
    if not results:
        raise ValueError("no results to tabulate")
    protocols = sorted({r.protocol for r in results})
    if len(protocols) > 1:
        raise ValueError(f"one table is about one protocol, got {protocols}")
    members: dict[str, list[Result]] = {}
    for result in results:
        seen = members.setdefault(result.experiment, [])
        if any(r.seed == result.seed for r in seen):
            raise ValueError(f"{result.experiment} has two results for seed {result.seed}")
        seen.append(result)
    rows: dict[str, tuple[Cell, ...]] = {}
    for name, cited in (published or {}).items():
        rows[name] = tuple(Cell(cited.get(m, math.nan), math.nan) for m in metrics)
    for name, group_results in members.items():
        rows[name] = tuple(_cell([r.metric(m, group, stage) for r in group_results]) for m in metrics)
    seeds = {name: len(members.get(name, ())) for name in rows}
    return ResultTable(f"{protocols[0]}, {stage}, {group}", tuple(metrics), rows, seeds)


def _cell(values: Sequence[float]) -> Cell:
    return Cell(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)


def _escape(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&")
