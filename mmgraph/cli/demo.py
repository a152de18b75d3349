"""``mmgraph demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.shell import errors_for_people, say, this_command


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, features and report.html.")] = Path("demo"),
) -> None:
    """Make a world of generated videos, encode it, train on it, recommend, and write a report."""
    with errors_for_people(lambda: f"what is encoded is kept: {this_command()}"):
        from mmgraph.demo import run_demo

        run_demo(out, echo=say)
