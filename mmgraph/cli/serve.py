"""``mmgraph serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, say


def serve(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as mmgraph export writes it.")],
    log: Annotated[Path, typer.Option(help="File of the event log; made where it does not exist.")],
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    api_key_file: Annotated[Path | None, typer.Option(help="Lines of ROLE KEY: read, write, admin.")] = None,
    durability: Annotated[str, typer.Option(help="full: survives a power cut; normal: a process's death.")] = "full",
    unknown_user: Annotated[str, typer.Option(help="popular: a stranger's list; error: 404.")] = "popular",
    deadline_ms: Annotated[float, typer.Option(help="After so long a list is the popular one.")] = 100.0,
    rate: Annotated[float, typer.Option(help="Requests a second of one key or client; 0 for any number.")] = 0.0,
    watch: Annotated[bool, typer.Option("--watch", help="Read the bundle anew when it changes.")] = False,
    quota: Annotated[list[str] | None, typer.Option(help="As tag:ads<=2 or tag:news>=1; several times.")] = None,
    index: Annotated[str, typer.Option(help="exact; or faiss: approximate, for more than a few million.")] = "exact",
    router: Annotated[Path | None, typer.Option(help="File of a CascadeRouter, in place of the bundle's own.")] = None,
    price: Annotated[float, typer.Option(help="Gain (NDCG) that a millisecond must bring, for the router.")] = 0.0,
    concepts: Annotated[str | None, typer.Option(help="NEEDS,TEACHES: columns that name concepts.")] = None,
) -> None:
    """Serve a bundle over HTTP: recommendations, events, new and hidden videos, a page to try it."""
    with errors_for_people():
        from mmgraph.serve.server import ServeConfig
        from mmgraph.serve.server import serve as run

        words: dict[str, Any] = {"durability": durability, "unknown_user": unknown_user, "index": index}
        numbers: dict[str, Any] = {"deadline_ms": deadline_ms, "rate": rate, "workers": workers}
        where: dict[str, Any] = {"host": host, "port": port, "api_key_file": api_key_file, "watch": watch}
        columns = None if concepts is None else tuple(concepts.split(","))
        if columns is not None and len(columns) != 2:
            raise UsageError(f"--concepts takes two columns, NEEDS,TEACHES, not {concepts!r}")
        rules: dict[str, Any] = {"quotas": tuple(quota or ()), "concepts": columns, "router": router, "price": price}
        run(ServeConfig(bundle, log, **words, **numbers, **where, **rules), announce=say)
