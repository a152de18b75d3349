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
        from mmgraph.ops.memory import available_bytes, needs_by_size, readable_size

        report = look(data)
        needs = needs_by_size(report.users, report.videos, report.interactions)
        if as_json:
            print_json({**report.model_dump(mode="json"), "memory": {need.name: need.bytes for need in needs}})
            return
        say(report)
        if report.interactions:
            free = available_bytes()
            say(f"memory, of {readable_size(free)} free:")
            for need in needs:
                say(f"  {need}" + ("" if need.bytes <= free else f"; too much: {need.advice}"))
