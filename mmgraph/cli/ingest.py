"""``mmgraph ingest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.shell import errors_for_people, print_json, say


def ingest(
    source: Annotated[
        str, typer.Argument(help="NDJSON file, -, redis://HOST:PORT/0#STREAM or kafka://HOST:PORT/TOPIC.")
    ],
    log: Annotated[Path, typer.Option(help="File of the event log.")],
    consumer: Annotated[str, typer.Option(help="Whose place in a stream or topic.")] = "mmgraph-ingest",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take events in, each once, however often it is run; a server over the same log counts them at once."""
    with errors_for_people():
        from mmgraph.serve.ingest import ingest as take
        from mmgraph.serve.log import SqliteLog

        with SqliteLog(log) as there:
            done = take(source, there, consumer)
        if as_json:
            print_json(vars(done))
            return
        counts = f"{done.accepted:,} events taken, {done.duplicates:,} were there, {done.rejected.total():,} rejected"
        say(f"{counts}; the log is at {done.seq:,}")
        for example in done.examples:
            say(f"rejected {example}", err=True)
