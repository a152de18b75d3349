"""``mmgraph table``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmgraph.cli.run import changed_suite, columns
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say

if TYPE_CHECKING:
    from mmgraph.experiment import Result, ResultTable, Suite


def table(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS…|SUITE",
            help="runs/, runs/EXPERIMENT or runs/EXPERIMENT/SEED; several. Or a suite, as mmgraph bench takes it.",
        ),
    ],
    metric: Annotated[list[str] | None, typer.Option(help="A column, as recall@20; may be given again.")] = None,
    group: Annotated[str, typer.Option(help="all, warm, cold or another group of the results.")] = "all",
    stage: Annotated[str, typer.Option(help="test or valid.")] = "test",
    out: Annotated[Path, typer.Option(help="Where the runs of a SUITE lie.")] = Path("runs"),
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="As mmgraph bench was told, of a SUITE."),
    ] = None,
    quoted: Annotated[
        Path | None,
        typer.Option(help="A claims ledger: its rows under this protocol, marked with how they were chosen."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown: the default.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX, for the booktabs package.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print HTML.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the table of finished runs of one protocol; bold is only what a paired test finds best."""
    with errors_for_people():
        if sum((markdown, latex, as_html, as_json)) > 1:
            raise UsageError("give one of --markdown, --latex, --html and --json")
        if stage not in ("test", "valid"):
            raise UsageError(f"--stage is test or valid, not {stage!r}")
        of_runs = len(folders) > 1 or any(folder.exists() for folder in folders)
        if of_runs and changes:
            raise UsageError("--set is of a suite; runs that are done are what they are")
        suite = None if of_runs else changed_suite(_suite(folders[0]), changes or [])
        results = results_below(folders) if suite is None else _finished(suite, out)
        protocols = list(dict.fromkeys(r.protocol for r in results))
        parts = [results] if suite is None else [[r for r in results if r.protocol == p] for p in protocols]
        wanted = metric or (list(suite.metrics) if suite else None)
        made = [_made(part, wanted, group, stage, quoted) for part in parts]
        if as_json:
            told = [_told(one, part[0].protocol, stage, group) for one, part in zip(made, parts, strict=True)]
            print_json(told[0] if suite is None else {"suite": suite.name, "tables": told})
            return
        for one in made:
            say(one.latex() if latex else one.html() if as_html else one.markdown())


def _suite(given: Path) -> Suite:
    from mmgraph.cli.sources import load_suite

    if len(given.parts) > 1 and ":" not in str(given):
        raise UsageError(f"no folder {given}; runs lie in runs/<experiment>/<seed>")
    return load_suite(str(given))


def _finished(suite: Suite, out: Path) -> list[Result]:
    from mmgraph.experiment import suite_progress, suite_results

    results, stands = suite_results(suite, out), suite_progress(suite, out)
    if not results:
        raise UsageError(f"no finished run of suite {suite.name} in {out}: mmgraph bench {suite.name}")
    missing = len(stands.jobs) - len(results)
    if missing:
        say(
            f"{missing} of {len(stands.jobs)} runs of suite {suite.name} are missing here (mmgraph bench … --status)",
            err=True,
        )
    return results


def _made(results: list[Result], metric: list[str] | None, group: str, stage: str, ledger: Path | None) -> ResultTable:
    from mmgraph.experiment import table as make_table

    names = metric or columns(results, group)
    if not names:
        raise UsageError(f"the results share no recall of group {group!r}: give --metric or another --group")
    if ledger is None:
        return make_table(results, names, group=group, stage=stage)
    from mmgraph.experiment import quoted, read_ledger

    rows, chosen = quoted(read_ledger(ledger), results[0].protocol)
    if not rows:
        say(f"{ledger} has no row under {results[0].protocol}", err=True)
    return make_table(results, names, group=group, stage=stage, published=rows, chosen=chosen)


def _told(made: ResultTable, protocol: str, stage: str, group: str) -> dict[str, Any]:
    rows = [
        {"experiment": name, "seeds": made.seeds[name]}
        | ({"chosen": made.quoted[name]} if name in made.quoted else {})
        | {
            m: {"mean": cell.mean, "std": cell.std, "best": name in made.best[i]}
            for i, (m, cell) in enumerate(zip(made.metrics, cells, strict=True))
        }
        for name, cells in made.rows.items()
    ]
    return {"protocol": protocol, "stage": stage, "group": group, "opened": made.opened, "rows": rows}


def results_below(folders: list[Path]) -> list[Result]:
    """The finished runs of folders, each a run, an experiment's folder or one of many experiments; each run once.

    Raises:
        UsageError: no such folder, or no finished run in it.
    """
    from mmgraph.experiment import Result

    found: dict[Path, Result] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"no folder {folder}; runs lie in runs/<experiment>/<seed>")
        places = [p for pattern in ("", "*/", "*/*/") for p in sorted(folder.glob(f"{pattern}result.json"))]
        seeds = [p.parent for p in places if p.parent.resolve().name.isdigit()]
        if not seeds:
            raise UsageError(f"no finished run in {folder}: give runs, runs/<experiment> or runs/<experiment>/<seed>")
        found |= {seed.resolve(): Result.load(seed) for seed in seeds if seed.resolve() not in found}
    return sorted(found.values(), key=lambda r: (r.experiment, r.seed))
