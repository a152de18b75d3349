"""``mmgraph plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.run import columns
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say
from mmgraph.cli.sources import load_experiment
from mmgraph.cli.table import results_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmgraph.experiment import Experiment, Result
    from mmgraph.report import Dot

WHAT = ("seconds", "parameters", "popularity", "missing", "ranks")


def plot(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUNS…", help="runs/, runs/EXPERIMENT or runs/EXPERIMENT/SEED; several.")
    ],
    what: Annotated[str, typer.Option(help=f"{', '.join(WHAT)}.")] = "seconds",
    out: Annotated[Path, typer.Option(help="File that ends in .png, .svg, .pgf or .pdf.")] = Path("plot.svg"),
    metric: Annotated[str | None, typer.Option(help="Such as recall@20.")] = None,
    group: Annotated[str, typer.Option(help="all, warm, cold or another group of the results.")] = "all",
    stage: Annotated[str, typer.Option(help="test or valid; popularity and missing are on valid.")] = "test",
    how: Annotated[str, typer.Option(help="Of missing: random, unpopular or value.")] = "random",
    source: Annotated[
        list[str] | None, typer.Option(help="Of popularity: the experiments' functions; may be given again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Plot quality against seconds, parameters, popularity or missing modalities; or rank intervals of the models."""
    with errors_for_people():
        if what not in WHAT:
            raise UsageError(f"--what is one of {', '.join(WHAT)}, not {what!r}")
        if stage not in ("test", "valid"):
            raise UsageError(f"--stage is test or valid, not {stage!r}")
        from dataclasses import asdict

        from mmgraph.report import save_figure

        results = results_below(folders)
        names = [metric] if metric else columns(results, group)
        if not names:
            raise UsageError(f"the results share no recall of group {group!r}: give --metric or another --group")
        if what == "popularity":
            drawn, numbers = _popularity(results, metric, source or [])
        elif what == "missing":
            drawn, numbers = _missing(results, how)
        else:
            drawn, numbers = _of_results(results, what, names[0], group, stage)
        path = save_figure(drawn, out)
        if as_json:
            told = {name: [asdict(dot) for dot in dots] for name, dots in numbers.items()}
            print_json({"plot": str(path), "what": what, "models": told})
        else:
            say(f"plot: {path}")


def _of_results(
    results: list[Result], what: str, metric: str, group: str, stage: str
) -> tuple[Figure, dict[str, list[Dot]]]:
    from mmgraph.report import draw_dots, draw_ranks, quality_against, rank_intervals

    judged = f"{metric} on {stage}" + ("" if group == "all" else f", {group}")
    if what == "ranks":
        dots = rank_intervals(results, metric, group=group, stage=stage)
        return draw_ranks(dots, f"rank by {judged}, 95 % over users"), {n: [dot] for n, dot in dots.items()}
    dots = quality_against(results, what, metric, group=group, stage=stage)  # type: ignore[arg-type]
    label = "seconds of training" if what == "seconds" else "parameters"
    return draw_dots(dots, label, judged), {n: [dot] for n, dot in dots.items()}


def _missing(results: list[Result], how: str) -> tuple[Figure, dict[str, list[Dot]]]:
    from mmgraph.audit import AUDIT, Audit
    from mmgraph.report import draw_lines, missing_lines

    audits = {}
    for result in results:
        path = (result.directory or Path()) / AUDIT
        if path.exists() and result.experiment not in audits:
            audits[result.experiment] = Audit.load(path)
    if not audits:
        raise UsageError("none of these runs was audited: mmgraph audit RUN --source MODULE:FUNCTION first")
    lines = missing_lines(audits, how)
    first = next(iter(audits.values()))
    return draw_lines(lines, f"share of videos without, {how}", f"{first.metric} on {first.stage}"), lines


def _popularity(results: list[Result], metric: str | None, sources: list[str]) -> tuple[Figure, dict[str, list[Dot]]]:
    from mmgraph.audit import recall_by_popularity
    from mmgraph.report import Dot, draw_lines

    if not sources:
        raise UsageError("popularity ranks again on the data: say which functions made the runs, --source …")
    members: dict[str, Experiment] = {}
    for source in sources:
        experiment = load_experiment(source)
        members |= {member.name: member for member in (experiment, *experiment.baselines)}
    first = {}  # the lowest seed of each
    for result in results:
        first.setdefault(result.experiment, result)
    unknown = sorted(first.keys() - members.keys())
    if unknown:
        raise UsageError(f"no --source returns {', '.join(unknown)}; they return {', '.join(sorted(members))}")
    lines, ranges = {}, ()
    splits = {}
    for name, result in first.items():
        member = members[name]
        if member.split not in splits:
            splits[member.split] = member.split()
        told = {"split": splits[member.split]}
        found = recall_by_popularity(result.directory or Path(), member, metric, **told)
        if ranges and tuple(found) != ranges:
            raise UsageError(f"{name} has other targets than {next(iter(first))}: a plot is of one protocol")
        ranges, nan = tuple(found), float("nan")
        lines[name] = [
            Dot(at, e.mean or 0.0, nan if e.low is None else e.low, nan if e.high is None else e.high)
            for at, e in enumerate(found.values())
        ]
    label = "training users of the target, tenths of the targets"
    return draw_lines(lines, label, "recall on valid", ranges), lines
