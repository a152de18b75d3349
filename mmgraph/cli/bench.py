"""``mmgraph bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.board import Board, summary
from mmgraph.cli.run import changed_suite
from mmgraph.cli.shell import errors_for_people, print_json, say, say_table, this_command
from mmgraph.cli.sources import load_suite
from mmgraph.cli.workers import beside

if TYPE_CHECKING:
    from mmgraph.experiment import Progress, Result, Suite


def bench(
    source: Annotated[
        str, typer.Argument(metavar="SUITE", help="A name as quick, MODULE:FUNCTION or path/to/file.py:function.")
    ],
    only: Annotated[list[str] | None, typer.Option(help="Experiments, * allowed; may be given several times.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Say where it stands, and do nothing.")] = False,
    mock: Annotated[bool, typer.Option("--mock", help="One step of everything; no test is opened.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="In every row, as fit.device=cuda; may be given again."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work the suite.")] = 1,
    out: Annotated[Path, typer.Option(help="Where runs/ goes: results lie in OUT/EXPERIMENT/SEED.")] = Path("runs"),
    extract: Annotated[Path | None, typer.Option(help="Write the results to this file, a JSON line each.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print the table in LaTeX too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a suite: tune, train, and then open the tests in one step. Typed again it goes on where it was.

    What is done under the same identity is skipped; start it in several terminals and each takes the next run.
    """
    with errors_for_people(lambda: f"to go on: {this_command()}"):
        suite = changed_suite(load_suite(source), changes or [])
        from mmgraph.experiment import extract as write_extract
        from mmgraph.experiment import run_suite, suite_progress

        if status:
            _status(suite_progress(suite.mocked() if mock else suite, out), as_json)
            return
        options = {"only": tuple(only or ()), "retry": retry, "mock": mock, "source": source}
        with beside(workers - 1), Board(suite.mocked() if mock else suite) as board:
            results = run_suite(suite, out, **options, report=board)
        if extract is not None and results:
            say(f"wrote {write_extract(results, extract)}", err=True)
        if as_json:
            print_json({"suite": suite.name, "results": [r.model_dump() for r in results]})
        elif results:
            _tables(suite, results, latex)
        elif mock:
            say("everything took its step; no test was opened")
        else:
            say("runs are missing: no test was opened (mmgraph bench … --status)")


def _status(progress: Progress, as_json: bool) -> None:
    if as_json:
        print_json({"suite": progress.suite, "estimate": progress.estimate, "jobs": [vars(j) for j in progress.jobs]})
        return
    columns = {"experiment": "left", "seed": "right", "state": "left", "seconds": "right", "test opened": "right"}
    rows = []
    for job in progress.jobs:
        seconds = "" if job.seconds is None else f"{job.seconds:.1f}"
        state = job.state if job.error is None else f"{job.state}: {job.error}"
        rows.append([job.experiment, job.seed, state, seconds, "" if job.opened is None else job.opened])
    say_table(summary(progress), columns, rows)


def _tables(suite: Suite, results: list[Result], latex: bool) -> None:
    from rich.console import Console

    from mmgraph.experiment import table
    from mmgraph.experiment.result import OF_TRAINING

    measured = [name for name in suite.metrics if name not in OF_TRAINING]
    for protocol in dict.fromkeys(r.protocol for r in results):
        members = [r for r in results if r.protocol == protocol]
        for group in ("all", "warm", "cold"):
            if all(name in r.test.get(group, ()) for r in members for name in measured):
                shown = table(members, suite.metrics, group=group)
                Console().print(shown.rich())
                if latex:
                    say(shown.latex())
        say(f"the test of {protocol} had been opened {max(r.opened for r in members)} times here")
