"""``mmgraph inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say


def inspect(
    data: Annotated[Path, typer.Argument(help="A media folder, or a folder in another known layout.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is in a folder: counts, density, modality coverage, time span; or all that is wrong with it."""
    with errors_for_people():
        if not data.exists():
            raise UsageError(f"no such folder: {data}")
        from mmgraph.data import inspect as look

        report = look(data)
        if as_json:
            print_json(report.model_dump(mode="json"))
        else:
            say(report)
