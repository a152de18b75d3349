"""``mmgraph recommend``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say, say_table
from mmgraph.cli.sources import load_experiment

if TYPE_CHECKING:
    from mmgraph.experiment import Experiment, Result


def recommend(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/lightgcn/0.")],
    user: Annotated[list[str], typer.Option("--user", help="Raw user id; may be given several times.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many videos.")] = 10,
    source: Annotated[
        str | None, typer.Option(help="The experiment's function, for a model that is not mmgraph's own.")
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="Also say why, from the graph.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend to users with a finished run: titles, scores, raw ids. The folder is enough; no recipe is run.

    What the experiment's constraint forbids is not shown here either.
    """
    with errors_for_people():
        from mmgraph.experiment import CodeNeeded, Result, load
        from mmgraph.recommend import explain, find_rows, recommend_ids

        result = Result.load(seed_folder(folder))
        made_by = maker(source, result)
        try:
            ready = load(seed_folder(folder), model=made_by)
        except CodeNeeded as error:
            hint = f"; the run says it came from {result.source}" if result.source else ""
            raise UsageError(f"{error}\non the command line: --source MODULE:FUNCTION{hint}") from None
        dataset = ready.dataset
        if dataset is None:
            raise UsageError(f"{folder} was saved without raw ids")
        rows = recommend_ids(ready.model, ready.graph, dataset, user, k, constraint=ready.constraint)
        rows = rows.to_frame().to_dicts()
        if why:
            for row in rows:
                pair = [
                    int(find_rows(ids, [row[kind]], kind)[0])
                    for kind, ids in (("user", dataset.user_ids), ("video", dataset.video_ids))
                ]
                row["why"] = explain(ready.graph, *pair, k=1).sentences(dataset)
        if as_json:
            print_json({"experiment": result.experiment, "seed": result.seed, "recommendations": rows})
            return
        for raw in user:
            _show(f"{result.experiment}, user {raw}", [row for row in rows if str(row["user"]) == raw])


def maker(source: str | None, result: Result | None) -> Callable[[Any], Any] | None:
    """What makes the model of a run from a graph, by the experiment that ``source`` names; None without one."""
    if source is None:
        return None
    experiment = load_experiment(source)
    if result is not None:
        experiment = _member(experiment, result.experiment, source)
    make: Any = experiment.model
    return lambda graph: make(graph, **experiment.arguments())


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    columns = {"rank": "right", "title": "left", "score": "right", "video": "right"}
    columns = {name: side for name, side in columns.items() if rows and name in rows[0]}
    cells = [[f"{row[n]:.4f}" if n == "score" else "–" if row[n] is None else row[n] for n in columns] for row in rows]
    say_table(title, columns, cells)
    said = {
        "popular": "nothing is known of this user that the model reads: this is the popular list",
        "profile": "this user has no interactions: the list is by profile",
    }
    if rows and rows[0].get("fallback"):
        say(said[rows[0]["fallback"]])
    for row in rows:
        if "why" in row:
            say(f"{row['rank']}. " + ("; ".join(row["why"]) or "no path in the graph"))


def seed_folder(folder: Path) -> Path:
    """The folder itself when it holds a result, else its lowest seed.

    Raises:
        UsageError: no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; runs lie in runs/<experiment>/<seed>")
    if (folder / "result.json").exists():
        return folder
    seeds = sorted(
        (p.parent for p in folder.glob("*/result.json") if p.parent.name.isdigit()), key=lambda p: int(p.name)
    )
    return seeds[0] if seeds else folder


def _member(experiment: Experiment, name: str, source: str) -> Experiment:
    members = {e.name: e for e in (experiment, *experiment.baselines)}
    if name not in members:
        raise UsageError(f"{source} now returns {sorted(members)}, but the run is of {name!r}: give --source")
    return members[name]
