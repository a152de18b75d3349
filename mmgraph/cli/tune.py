"""``mmgraph tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.shell import errors_for_people, print_json, say, say_table, this_command
from mmgraph.cli.sources import load_experiment
from mmgraph.cli.workers import beside

if TYPE_CHECKING:
    from mmgraph.experiment import Search


def tune(
    source: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="Or path/to/file.py:function.")],
    trials: Annotated[int, typer.Option(min=1, help="Settings, at most; the recipe's own is the first.")] = 50,
    minutes: Annotated[float | None, typer.Option(help="Of training, over all workers, at most.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work the study.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Of every trial; by default the experiment's first.")] = None,
    out: Annotated[Path, typer.Option(help="The study lies in OUT/EXPERIMENT/tune-….")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the space beside a recipe on valid alone, in a study that any number of processes may work.

    Typed again it goes on. The best setting becomes best.py, for mmgraph run.
    """
    with errors_for_people(lambda: f"to go on: {this_command()}"):
        experiment = load_experiment(source)
        from mmgraph.experiment import tune as tune_here

        seconds = None if minutes is None else 60 * minutes
        with beside(workers - 1):
            found = tune_here(
                experiment, trials, seconds, seed=seed, out=out, source=source, progress=workers == 1 and not as_json
            )
        if as_json:
            best = {"changes": found.best.changes, "valid": found.best.valid}
            print_json({"directory": str(found.directory), "best": best, "trials": [vars(t) for t in found.trials]})
            return
        _show(found)


def _show(found: Search) -> None:
    paths = list(found.best.changes)
    columns = {**dict.fromkeys(paths, "right"), found.monitor: "right", "epochs": "right", "": "left"}
    ordered = sorted(found.trials, key=lambda t: -t.valid.get(found.monitor, float("-inf")))
    rows = []
    for trial in ordered[:10]:
        value = f"{trial.valid[found.monitor]:.4f}" if trial.valid else "–"
        about = trial.error or ("ended early" if trial.pruned else "best" if trial is found.best else "")
        rows.append([*(str(trial.changes.get(path, "")) for path in paths), value, trial.epochs, about])
    say_table(f"{len(found.trials)} trials on valid, the first {len(rows)} by {found.monitor}", columns, rows)
    say(f"to run the best: mmgraph run {found.directory}/best.py:best")
