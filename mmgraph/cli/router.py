"""``mmgraph router``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say
from mmgraph.cli.sources import load_experiment

if TYPE_CHECKING:
    from mmgraph.bundle import Bundle

Targets = dict[str, list[str]]


def router(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as mmgraph export writes it.")],
    source: Annotated[str | None, typer.Option(help="The run's experiment, MODULE:FUNCTION: its valid clicks.")] = None,
    clicks: Annotated[Path | None, typer.Option(help="Table of later clicks: columns user_id and video_id.")] = None,
    log: Annotated[Path | None, typer.Option(help="File of an event log: its clicks since the bundle.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists, and of NDCG@k.")] = 20,
    bins: Annotated[int, typer.Option(min=1, help="Groups of users, by how many videos they met.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure on held-out clicks who gains by a dearer answer, and keep that in the bundle for serve --price."""
    with errors_for_people():
        if sum(one is not None for one in (source, clicks, log)) != 1:
            raise UsageError("name the held-out clicks by one of --source, --clicks, --log")
        from mmgraph.bundle import load
        from mmgraph.serve.cascade import fit_router, measure_tiers

        made = load(bundle)
        if source is not None:
            targets = _valid(source)
        elif clicks is not None:
            targets = _table(clicks)
        else:
            assert log is not None
            targets = _since(made, log)
        found = fit_router(*measure_tiers(made, targets, k=k), bins=bins)
        made = found.keep_in(made)
        if as_json:
            print_json({"bundle": made.id, **found.model_dump()})
            return
        say(f"NDCG@{k} on {sum(found.requests):,} users, by how many videos they met")
        bounds = [*(f"up to {edge}" for edge in found.edges), "more" if found.edges else "any"]
        for name, row, count in zip(bounds, found.gain, found.requests, strict=True):
            gains = ", ".join(f"{tier} {gain:.4f}" for tier, gain in zip(found.tiers, row, strict=True))
            say(f"{name:>12} ({count:,}): {gains}")
        say("cost, ms: " + ", ".join(f"{t} {c:.2f}" for t, c in zip(found.tiers, found.cost, strict=True)))
        say(f"bundle {made.id} in {bundle}; serve it: mmgraph serve {bundle} --log events.db --price 0.001")


def _valid(source: str) -> Targets:
    split = load_experiment(source).split()
    rows = (split.dataset.user_ids.ids, "user"), (split.dataset.video_ids.ids, "video")
    users, videos = (ids[split.valid[name].to_numpy()].to_list() for ids, name in rows)
    return _grouped(users, videos)


def _table(path: Path) -> Targets:
    import polars as pl

    from mmgraph.data.readers.delimited import read_table

    names = ("user_id", "video_id")
    if path.suffix == ".parquet":
        table = pl.read_parquet(path)
    else:
        table, _ = read_table(path, required=names, text=names)
    if missing := [name for name in names if name not in table.columns]:
        raise UsageError(f"{path} has no column {missing[0]}; there are {', '.join(table.columns)}")
    return _grouped(table["user_id"].to_list(), table["video_id"].to_list())


def _since(bundle: Bundle, path: Path) -> Targets:
    if not path.is_file():
        raise UsageError(f"no file {path}")
    from mmgraph.serve.log import SqliteLog
    from mmgraph.serve.profiles import POSITIVE

    users, videos, place = [], [], bundle.manifest.log.seq
    with SqliteLog(path) as log:
        while entries := log.read(place):
            mine = [entry.event.data for entry in entries if entry.event.kind in POSITIVE]
            users += [data["user"] for data in mine]
            videos += [data["video"] for data in mine]
            place = entries[-1].seq
    return _grouped(users, videos)


def _grouped(users: list, videos: list) -> Targets:
    out: Targets = {}
    for user, video in zip(users, videos, strict=True):
        out.setdefault(str(user), []).append(str(video))
    return out
