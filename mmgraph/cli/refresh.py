"""``mmgraph refresh``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.recommend import maker
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say


def refresh(
    bundle: Annotated[Path, typer.Argument(help="A bundle that mmgraph export --trainable wrote.")],
    log: Annotated[Path, typer.Option(help="File of the event log.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the next bundle; by default it takes the old one's place.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Over all clicks, old and new.")] = 5,
    learning_rate: Annotated[float | None, typer.Option(help="By default the one it was trained with.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write the towers as ONNX too.")] = False,
    source: Annotated[
        str | None, typer.Option(help="The experiment's function, for a model that is not mmgraph's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Go on training on what a log holds, and write the next bundle; a server reads it by a reload or --watch."""
    with errors_for_people():
        if not log.is_file():
            raise UsageError(f"no file {log}")
        from mmgraph.serve.log import SqliteLog
        from mmgraph.serve.refresh import refresh as run

        with SqliteLog(log) as there:
            done = run(
                bundle,
                there,
                out,
                epochs=epochs,
                learning_rate=learning_rate,
                model=maker(source, None),
                onnx=onnx,
                progress=True,
            )
        about = {"before": done.before, "bundle": done.bundle.id, "folder": str(done.bundle.folder)}
        counts = {"interactions": done.interactions, "users": done.users, "videos": done.videos}
        if as_json:
            print_json(about | counts | {"seq": done.bundle.manifest.log.seq})
            return
        say(f"{done.before} -> {done.bundle.id} in {done.bundle.folder}, up to {done.bundle.manifest.log.seq} of {log}")
        say(", ".join(f"{count:,} new {name}" for name, count in counts.items()))
