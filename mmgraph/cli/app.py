"""The ``mmgraph`` command: its commands, and the options they share."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from mmgraph import __version__
from mmgraph.cli import shell
from mmgraph.cli.audit import audit
from mmgraph.cli.bench import bench
from mmgraph.cli.compare import compare
from mmgraph.cli.demo import demo
from mmgraph.cli.encode import encode
from mmgraph.cli.export import export
from mmgraph.cli.ingest import ingest
from mmgraph.cli.inspect import inspect
from mmgraph.cli.plot import plot
from mmgraph.cli.probe import probe
from mmgraph.cli.recommend import recommend
from mmgraph.cli.refresh import refresh
from mmgraph.cli.replay import replay
from mmgraph.cli.report import report
from mmgraph.cli.router import router
from mmgraph.cli.run import run
from mmgraph.cli.serve import serve
from mmgraph.cli.status import status
from mmgraph.cli.table import table
from mmgraph.cli.tune import tune
from mmgraph.process import prepare_process

COMMANDS = (
    demo,
    run,
    tune,
    bench,
    table,
    compare,
    plot,
    audit,
    probe,
    recommend,
    report,
    inspect,
    encode,
    export,
    router,
    serve,
    ingest,
    status,
    replay,
    refresh,
)

app = typer.Typer(
    name="mmgraph",
    help="Graph recommenders over things that have a look, a sound and words.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            torch = version("torch")
        except PackageNotFoundError:
            torch = "not installed"
        shell.say(f"mmgraph {__version__} (torch {torch})")
        raise typer.Exit


@app.callback()
def main(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Graph recommenders over things that have a look, a sound and words."""
    shell.begin(traceback=traceback)
    prepare_process()  # before any command loads torch
