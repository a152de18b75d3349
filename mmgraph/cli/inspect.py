"""``mmgraph inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say


def inspect(
    data: Annotated[Path, typer.Argument(help="A media folder, a folder in another known layout, or a file.")],
    columns: Annotated[
        str, typer.Option(help="Names of the columns, between commas: of a table without a header, or in its place.")
    ] = "",
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line names the columns.")
    ] = None,
    separator: Annotated[str, typer.Option(help="Between fields: ';', '::', or tab as \\t.")] = "",
    encoding: Annotated[str, typer.Option(help="Of the text: latin-1, gb18030, …; UTF-8 by default.")] = "",
    time_format: Annotated[str, typer.Option(help="How times are written, as %d/%m/%Y %H:%M.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is in a folder: counts, density, modality coverage, time span; or all that is wrong with it.

    What the content does not say of a table of your own (a media folder, a file of text) is said by the options.
    """
    with errors_for_people():
        if not data.exists():
            raise UsageError(f"no such folder or file: {data}")
        from mmgraph.data import inspect as look
        from mmgraph.ops.memory import available_bytes, needs_by_size, readable_size

        asked: dict[str, Any] = {
            "columns": [name.strip() for name in columns.split(",")] if columns else None,
            "header": header,
            "separator": separator.replace("\\t", "\t") or None,
            "encoding": encoding or None,
            "time_format": time_format or None,
        }
        report = look(data, **{name: value for name, value in asked.items() if value is not None})
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
