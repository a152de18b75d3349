"""``mmgraph demo``."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.shell import errors_for_people, print_json, say, this_command


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, features, runs and report.html.")] = Path("demo"),
    serve: Annotated[bool, typer.Option("--serve", help="Then serve what was trained, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="Where to serve; 0 for any that is free.")] = 8000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a world of generated videos, encode it, train on it, recommend, and write a report."""
    with errors_for_people(lambda: f"what is encoded is kept; to go on: {this_command()}"):
        from mmgraph.demo import run_demo, serve_demo

        done = run_demo(out, echo=partial(say, err=as_json))
        if as_json:
            print_json(dataclasses.asdict(done))
        if serve:
            serve_demo(out, port=port, echo=partial(say, err=as_json))
