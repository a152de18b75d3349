"""A report of anybody's run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mmgraph.experiment.result import Result
from mmgraph.report.content import Report
from mmgraph.report.media import Clips
from mmgraph.report.modalities import modality_facts
from mmgraph.report.people import different_users, viewers
from mmgraph.report.places import video_map
from mmgraph.report.results import curves, model_name, results_table, tiles

if TYPE_CHECKING:
    from mmgraph.data import Dataset
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import Recommender


def runs_beside(folder: str | Path) -> list[Result]:
    """The run in a folder, then every other finished one in the same ``runs/`` under the same protocol, all seeds."""
    main = Result.load(folder)
    directory = (main.directory or Path(folder)).resolve()
    others = [
        Result.load(path.parent)
        for path in sorted(directory.parent.parent.glob("*/*/result.json"))
        if path.parent != directory and path.parent.name.isdigit()
    ]
    return [main, *(result for result in others if result.protocol == main.protocol)]


def report_of_results(
    results: Sequence[Result],
    *,
    ceiling: str | None = None,
    names: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    title: str | None = None,
    lead: str | None = None,
    footer: Sequence[str] = (),
) -> Report:
    """What results alone can tell: figures, table, training. The first is the run that the report is about.

    Args:
        results: of one protocol, the main run first (:func:`runs_beside`).
        ceiling, names, notes: as in :func:`mmgraph.report.results.results_table`.
        title, lead: at the top; by default they name the experiment and its data.
        footer: further lines at the end.

    Raises:
        ValueError: no results, or of several protocols.
    """
    if not results:
        raise ValueError("no results to report")
    protocols = sorted({result.protocol for result in results})
    if len(protocols) > 1:
        raise ValueError(f"one report is about one protocol, got {protocols}")
    main, data = results[0], results[0].data
    stopped = main.training.get("stopped")
    opened = len(main.openings)
    lines = (
        f"{main.experiment}, {model_name(main)}, seed {main.seed}. Protocol {main.protocol}; its test was opened "
        f"{opened} {'time' if opened == 1 else 'times'} here, the openings of baselines included.",
        f"Trained for {main.training.get('seconds', 0.0):.0f} s" + (f": {stopped}." if stopped else "."),
    )
    return Report(
        title=title or f"{main.experiment} on {data.get('name') or 'the data'}",
        lead=lead or f"{model_name(main)} under {main.protocol}, chosen on valid, tested once.",
        figures=tiles(results, main.experiment, ceiling=ceiling, names=names),
        table=results_table(results, main.experiment, ceiling=ceiling, names=names, notes=notes),
        curves=curves(main.directory or Path(), main),
        footer=(*lines, *footer, "This page fetches nothing."),
    )


def with_model(
    report: Report,
    model: Recommender,
    graph: MultimodalGraph,
    dataset: Dataset,
    train: pl.DataFrame | None = None,
    *,
    users: Sequence[int] = (),
    tastes: Callable[[int], Sequence[str]] | None = None,
    groups: Sequence[str] | None = None,
    groups_about: str = "",
) -> Report:
    """The report with people, the map and the modalities: what the trained model and its data add.

    Args:
        report: from :func:`report_of_results`.
        model, graph: as trained; the graph of the test stage.
        dataset: ids and titles, and media and user columns where it has them (a loaded run has none).
        train: the training interactions, rows; by default those of the dataset, which for a loaded run are the same.
        users: rows of the people to show; by default three active ones who watched different things.
        tastes: user row -> words about them, where a world knows.
        groups, groups_about: as in :func:`mmgraph.report.places.video_map`.
    """
    train = dataset.interactions if train is None else train
    clips = Clips(dataset)
    features = {name: dataset.features.get(name) or graph.features(name) for name in graph.modalities}
    people = list(users) or different_users(graph.seen)
    return replace(
        report,
        viewers=viewers(model, graph, dataset, train, people, clips, tastes=tastes),
        map=video_map(model, graph, dataset, clips, groups=groups, groups_about=groups_about),
        modalities=modality_facts(features, train),
    )
