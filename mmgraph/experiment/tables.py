"""Tables of results: mean ± standard deviation over seeds, for a terminal, Markdown, HTML or LaTeX."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmgraph.experiment.differences import CannotPair, paired_differences
from mmgraph.experiment.paired import ALPHA, paired_test
from mmgraph.experiment.result import Result
from mmgraph.experiment.significance import holm

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
        best: for each column the rows in bold: those that the paired test does not find worse than the highest, where
            it finds some other worse. None where all tie, a number cannot be tested, or a quoted one is as high.
        quoted: rows from papers -> how their setting was chosen.
        opened: how often this protocol's test had been opened in this place; 0 where that is not known or on valid.
    """

    title: str
    metrics: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]
    seeds: dict[str, int]
    best: tuple[frozenset[str], ...] = ()
    quoted: dict[str, str] = field(default_factory=dict)
    opened: int = 0

    def _grid(self, bold: str, plus_minus: str, escape: Callable[[str], str]) -> Iterable[list[str]]:
        for name, cells in self.rows.items():
            texts = [cell.text(plus_minus) for cell in cells]
            best = self.best or (frozenset(),) * len(cells)
            marked = [bold.format(t) if name in best[i] else t for i, t in enumerate(texts)]
            count = self.seeds[name]
            shown = f"{name} (quoted; chosen: {self.quoted[name]})" if name in self.quoted else name
            yield [escape(shown), *marked, str(count) if count else "–"]

    def notes(self) -> list[str]:
        """What has to be said under the table: what bold means, and how often the test had been opened."""
        out = []
        if any(self.best):
            out.append(
                f"Bold: not worse than the highest (paired t-test over users and seeds, Holm, {ALPHA:.0%}), "
                "where another row is."
            )
        if self.opened:
            out.append(f"The test of this protocol had been opened {self.opened} times here.")
        return out

    def markdown(self) -> str:
        """A Markdown table, with its notes below."""
        head = ["model", *(_markdown(name) for name in self.metrics), "seeds"]
        lines = [head, ["---"] + ["---:"] * (len(head) - 1), *self._grid("**{}**", "±", _markdown)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([table, *self.notes()])

    def latex(self) -> str:
        r"""A ``tabular`` for the booktabs package, with its notes as comments."""
        columns = "l" + "r" * (len(self.metrics) + 1)
        body = [
            " & ".join([line[0], *(f"${cell}$" if cell != "–" else "--" for cell in line[1:])]) + r" \\"
            for line in self._grid(r"\mathbf{{{}}}", r"\pm", _latex)
        ]
        head = " & ".join(["model", *map(_latex, self.metrics), "seeds"]) + r" \\"
        return "\n".join(
            [
                *("% " + " ".join(line.split()) for line in (self.title, *self.notes())),
                rf"\begin{{tabular}}{{{columns}}}",
                *(r"\toprule", head, r"\midrule"),
                *body,
                *(r"\bottomrule", r"\end{tabular}"),
            ]
        )

    def html(self) -> str:
        """A ``table`` element without style, with its notes in the foot."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("model", *self.metrics, "seeds"))
        body = [
            f'<tr><th scope="row">{line[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in line[1:]) + "</tr>"
            for line in self._grid("<strong>{}</strong>", "±", html.escape)
        ]
        width = len(self.metrics) + 2
        foot = [f'<tr><td colspan="{width}">{html.escape(note)}</td></tr>' for note in self.notes()]
        return "\n".join(
            [
                *("<table>", f"<caption>{html.escape(self.title)}</caption>"),
                *(f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody>"),
                *(("<tfoot>", *foot, "</tfoot>") if foot else ()),
                "</table>",
            ]
        )

    def rich(self) -> Table:
        """A ``rich`` table for the terminal."""
        from rich.markup import escape
        from rich.table import Table

        out = Table(title=self.title, title_justify="left")
        out.add_column("model")
        for name in (*self.metrics, "seeds"):
            out.add_column(name, justify="right")
        for line in self._grid("[bold]{}[/bold]", "±", escape):
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
        return self.html()

    def __str__(self) -> str:
        return self.markdown()


def table(
    results: Sequence[Result],
    metrics: Sequence[str] = ("recall@20", "ndcg@20"),
    *,
    group: str = "all",
    stage: str = "test",
    published: Mapping[str, Mapping[str, float]] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> ResultTable:
    """Groups results by experiment, in the order they come, averages over seeds, and tests which row is best.

    Args:
        results: any number of experiments and seeds, of one protocol.
        metrics: columns.
        group: ``all``, ``warm``, ``cold`` or ``activity_1`` …
        stage: ``"test"`` or ``"valid"``.
        published: further rows with numbers from papers: name -> metric -> number. They carry no seeds.
        chosen: name of a published row -> how its setting was chosen, such as ``"on test"``; ``not said`` without.

    Raises:
        ValueError: no results, more than one protocol, a seed that comes twice, a published row with the name of an
            experiment, ``chosen`` for a row that is not published.
        DamagedFile: (a ValueError) per-user values are not what was written.
        KeyError: a metric or group that a result does not have.
    """
    if not results:
        raise ValueError("no results to tabulate")
    protocols = sorted({r.protocol for r in results})
    if len(protocols) > 1:
        raise ValueError(f"one table is about one protocol, got {_by_protocol(results)}")
    members: dict[str, list[Result]] = {}
    for result in results:
        seen = members.setdefault(result.experiment, [])
        if any(r.seed == result.seed for r in seen):
            raise ValueError(f"{result.experiment} has two results for seed {result.seed}")
        seen.append(result)
    quoted = {name: (chosen or {}).get(name, "not said") for name in published or {}}
    if twice := sorted(quoted.keys() & members.keys()):
        raise ValueError(f"published and measured rows have the same names: {twice}")
    if unknown := sorted((chosen or {}).keys() - quoted.keys()):
        raise ValueError(f"chosen names rows that are not published: {unknown}")
    rows: dict[str, tuple[Cell, ...]] = {}
    for name, cited in (published or {}).items():
        rows[name] = tuple(Cell(cited.get(m, math.nan), math.nan) for m in metrics)
    for name, group_results in members.items():
        rows[name] = tuple(_cell([r.metric(m, group, stage) for r in group_results]) for m in metrics)
    best = []
    for column, metric in enumerate(metrics):
        found = _best(members, metric, group, stage)
        high = max((rows[name][column].mean for name in found), default=math.nan)
        beaten = any(rows[name][column].mean >= high for name in quoted)
        best.append(frozenset() if beaten else found)
    seeds = {name: len(members.get(name, ())) for name in rows}
    opened = max(r.opened for r in results) if stage == "test" else 0
    title = f"{protocols[0]}, {stage}, {group}"
    return ResultTable(title, tuple(metrics), rows, seeds, tuple(best), quoted, opened)


def _by_protocol(results: Sequence[Result]) -> str:
    names: dict[str, list[str]] = {}
    for result in sorted(results, key=lambda r: (r.protocol, r.experiment)):
        names.setdefault(result.protocol, []).append(result.experiment)
    return "; ".join(f"{protocol}: {', '.join(dict.fromkeys(of))}" for protocol, of in names.items())


def _best(members: Mapping[str, Sequence[Result]], metric: str, group: str, stage: str) -> frozenset[str]:
    """The highest row and those that tie with it; empty where no row is worse, or one cannot be tested."""
    means = {name: float(np.mean([r.metric(metric, group, stage) for r in of])) for name, of in members.items()}
    if any(math.isnan(mean) for mean in means.values()):
        return frozenset()
    top = max(means, key=means.__getitem__)
    p_values = {}
    for name, of in members.items():
        if name == top:
            continue
        try:
            d = paired_differences(*_common_seeds(members[top], of), metric, group, stage)[1]
        except (CannotPair, KeyError, FileNotFoundError):  # not told for each user, or only the extract is here
            return frozenset()
        # the highest mean over other seeds or rows need not be the higher one in pairs: then it is a tie
        p = float(paired_test(d).p)
        p_values[name] = p if d.mean() > 0 and not math.isnan(p) else 1.0
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    worse = {name for name, p in adjusted.items() if p < ALPHA}
    return frozenset(members.keys() - worse) if worse else frozenset()


def _common_seeds(a: Sequence[Result], b: Sequence[Result]) -> tuple[Sequence[Result], Sequence[Result]]:
    """Of each side the seeds that both have; all where one side has a single seed, which stands against each."""
    if min(len(a), len(b)) == 1:
        return a, b
    both = {r.seed for r in a} & {r.seed for r in b}
    if not both:
        raise CannotPair(f"no seed in common: {sorted(r.seed for r in a)} and {sorted(r.seed for r in b)}")
    return [r for r in a if r.seed in both], [r for r in b if r.seed in both]


def _cell(values: Sequence[float]) -> Cell:
    return Cell(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)


_LATEX = str.maketrans(
    {character: "\\" + character for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}"}  # other characters in TeX's own text font
)


def _latex(text: str) -> str:
    return text.translate(_LATEX)


def _markdown(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
