"""``mmgraph replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say


def replay(
    log: Annotated[Path, typer.Argument(help="File of an event log.")],
    bundle: Annotated[Path, typer.Option(help="The bundle to start from.")],
    out: Annotated[Path | None, typer.Option(help="Write the state as the next bundle.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of the bundle that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fold a log over a bundle and say the state's hash: the same log and bundle give the same one, always."""
    with errors_for_people():
        if not log.is_file():
            raise UsageError(f"no file {log}")
        from mmgraph.bundle import load
        from mmgraph.serve.log import SqliteLog
        from mmgraph.serve.rebundle import rebundle
        from mmgraph.serve.snapshot import state_hash
        from mmgraph.serve.state import State

        with SqliteLog(log) as there:
            state = State(load(bundle))
            count = state.catch_up(there)
            made = None if out is None else rebundle(state, there.identity, out, replace=replace)
        about = {"entries": count, "seq": state.seq, "hash": state_hash(state), "users": len(state.users)}
        about |= {"videos": len(state.videos), "unreadable": state.unreadable}
        if made is not None:
            about["bundle"] = made.id
        if as_json:
            print_json(about)
            return
        for name, value in about.items():
            say(f"{name:12} {value}")
