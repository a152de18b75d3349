"""``mmgraph ingest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.shell import REFUSED, errors_for_people, print_json, say

if TYPE_CHECKING:
    from mmgraph.serve.ingest import Ingested


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
            if nothing_taken(done):
                raise typer.Exit(REFUSED)
            return
        counts = f"{done.accepted:,} events taken, {done.duplicates:,} were there, {done.rejected.total():,} rejected"
        say(f"{counts}; the log is at {done.seq:,}")
        for example in done.examples:
            say(f"rejected {example}", err=True)
        if nothing_taken(done):
            say("error: every event was rejected: each line is a JSON object as POST /v1/events takes it", err=True)
            raise typer.Exit(REFUSED)


def nothing_taken(done: Ingested) -> bool:
    """Whether there were events, and none of them was one."""
    return bool(done.rejected) and not (done.accepted or done.duplicates)
