"""What the demo trained, served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmgraph.bundle import Bundle, export
from mmgraph.experiment import Result, load
from mmgraph.serve.server import ServeConfig, serve

BUNDLE, LOG = "bundle", "events.db"


def export_demo(out: str | Path, run: str = "hybrid/0") -> Bundle:
    """Writes ``bundle/`` of a run of the demo, in the place of an earlier one.

    Args:
        out: folder of a demo that :func:`mmgraph.demo.run_demo` made.
        run: which of its runs.

    Raises:
        FileNotFoundError: no such run there.
    """
    folder = Path(out) / "runs" / run
    result, ready = Result.load(folder), load(folder)
    assert ready.dataset is not None  # runs are saved with raw ids
    place = Path(out) / BUNDLE
    told = {"protocol": ready.protocol, "metrics": result.test, "seen": ready.seen, "replace": place.exists()}
    return export(ready.model, ready.graph, ready.dataset, place, name=result.experiment, **told)


def serve_demo(out: str | Path, *, port: int = 8000, echo: Callable[[str], None] = print) -> None:
    """Exports what the demo trained and serves it on this machine, until it is told to stop.

    Args:
        out: folder of the demo; the event log is ``events.db`` in it.
        port: 0 for any that is free.
        echo: told the address.

    Raises:
        FileNotFoundError: no demo there.
        ImportError: without the packages of ``mmgraph[serve]``.
    """
    made = export_demo(out)
    for note in made.manifest.notes:
        echo(note)
    serve(ServeConfig(bundle=made.folder, log=Path(out) / LOG, port=port), announce=echo)


def how_to_serve(out: Path, run: str = "hybrid/0") -> str:
    """The two commands that do it."""
    return (
        f"serve it: mmgraph export {out / 'runs' / run} --out {out / BUNDLE}\n"
        f"          mmgraph serve {out / BUNDLE} --log {out / LOG}    (or: mmgraph demo --out {out} --serve)"
    )
