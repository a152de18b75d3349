"""``mmgraph report``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from mmgraph.cli.audit import AUDIT_PAGE
from mmgraph.cli.recommend import seed_folder
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say
from mmgraph.cli.sources import load_experiment


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/lightgcn/0.")],
    out: Annotated[Path | None, typer.Option(help="The page; by default RUN/report.html.")] = None,
    user: Annotated[list[str] | None, typer.Option("--user", help="Raw user id to show; may be given again.")] = None,
    ceiling: Annotated[str | None, typer.Option(help="The experiment beside it that no model can beat.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="The experiment's function, whose data has pictures and sounds."),
    ] = None,
    model: Annotated[bool, typer.Option(help="Show people and the map; without, the results alone.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the page of a finished run: results beside the other runs, people, the map, curves, modalities."""
    with errors_for_people():
        from mmgraph.experiment import load, restore
        from mmgraph.recommend import find_rows
        from mmgraph.report import report_of_results, runs_beside, with_model, write_report

        folder = seed_folder(folder)
        results = runs_beside(folder)
        page = report_of_results(results, ceiling=ceiling)
        if model and source is not None:
            experiment = load_experiment(source)
            members = {member.name: member for member in (experiment, *experiment.baselines)}
            if results[0].experiment not in members:
                raise UsageError(f"{source} returns {sorted(members)}, but the run is of {results[0].experiment!r}")
            ready = restore(results[0], members[results[0].experiment])
            dataset, train = ready.split.dataset, ready.split.train
        elif model:
            ready = load(folder)
            dataset, train = ready.dataset, None
        else:
            ready = dataset = train = None
        if ready is not None and dataset is not None:
            users = find_rows(dataset.user_ids, user or [], "user").tolist()
            page = with_model(page, ready.model, ready.graph, dataset, train, users=users)
        where = folder / "report.html" if out is None else out
        if (folder / AUDIT_PAGE).exists():
            address = os.path.relpath(folder / AUDIT_PAGE, where.parent)
            page = replace(page, links=((quote(Path(address).as_posix()), "What each modality is worth"),))
        path = write_report(page, where)
        if as_json:
            print_json({"report": str(path), "experiments": sorted({r.experiment for r in results})})
        else:
            say(f"report: {path}")
