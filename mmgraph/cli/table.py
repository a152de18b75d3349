"""``mmgraph table``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.run import columns
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say

if TYPE_CHECKING:
    from mmgraph.experiment import Result


def table(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUNS…", help="runs/, runs/EXPERIMENT or runs/EXPERIMENT/SEED; several.")
    ],
    metric: Annotated[list[str] | None, typer.Option(help="A column, as recall@20; may be given again.")] = None,
    group: Annotated[str, typer.Option(help="all, warm, cold or another group of the results.")] = "all",
    stage: Annotated[str, typer.Option(help="test or valid.")] = "test",
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
        from mmgraph.experiment import table as make_table

        results = results_below(folders)
        names = metric or columns(results, group)
        if not names:
            raise UsageError(f"the results share no recall of group {group!r}: give --metric or another --group")
        made = make_table(results, names, group=group, stage=stage)
        if as_json:
            rows = [
                {"experiment": name, "seeds": made.seeds[name]}
                | {
                    m: {"mean": cell.mean, "std": cell.std, "best": name in made.best[i]}
                    for i, (m, cell) in enumerate(zip(made.metrics, cells, strict=True))
                }
                for name, cells in made.rows.items()
            ]
            about = {"protocol": results[0].protocol, "stage": stage, "group": group, "opened": made.opened}
            print_json(about | {"rows": rows})
        else:
            say(made.latex() if latex else made.html() if as_html else made.markdown())


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
