"""``mmgraph compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.run import columns
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say, say_table
from mmgraph.cli.table import results_below

if TYPE_CHECKING:
    from mmgraph.experiment import Comparison, Result


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="runs/EXPERIMENT or one seed of it.")],
    b: Annotated[list[Path], typer.Argument(metavar="B…", help="What it is compared with; several are one family.")],
    metric: Annotated[str | None, typer.Option(help="Such as recall@20.")] = None,
    group: Annotated[str, typer.Option(help="all, warm, cold or another group of the results.")] = "all",
    stage: Annotated[str, typer.Option(help="test or valid.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether A is better or worse than B or ties, and what difference these data could detect."""
    with errors_for_people():
        if stage not in ("test", "valid"):
            raise UsageError(f"--stage is test or valid, not {stage!r}")
        from dataclasses import asdict

        from mmgraph.experiment import compare_family

        ours, others = _one(a), {}
        for folder in b:
            theirs = _one(folder)
            if theirs[0].experiment in others:
                raise UsageError(f"{theirs[0].experiment} is given twice: a family holds each once")
            others[theirs[0].experiment] = theirs
        names = [metric] if metric else columns([*ours, *(r for of in others.values() for r in of)], group)
        if not names:
            raise UsageError(f"the results share no recall of group {group!r}: give --metric or another --group")
        found = compare_family(ours, others, names[0], group=group, stage=stage)
        name = ours[0].experiment
        if as_json:
            told = [{"a": name, "b": other} | asdict(c) | {"verdict": c.verdict} for other, c in found.items()]
            print_json({"protocol": ours[0].protocol, "comparisons": told})
            return
        numbers = ("difference", "95 % interval", "p (Holm)", "d_z", "detectable")
        rows = [
            [
                *(other, f"{c.mean_b:.4f}", f"{c.difference:+.4f}"),
                *(_of_several(c) if c.users > 1 else ("–",) * 4),
                c.verdict,
            ]
            for other, c in found.items()
        ]
        first = next(iter(found.values()))
        users = f"{first.users} user" + "s" * (first.users != 1)
        title = f"{name} {first.mean_a:.4f}, {names[0]}, {stage}, {group}, {users}, against"
        say_table(title, {"": "left", names[0]: "right", **dict.fromkeys(numbers, "right"), "verdict": "left"}, rows)
        if any(c.seeds < 2 for c in found.values()):
            say("one seed: the interval is over users alone, and another initialisation may turn the sign")
        if any(c.users == 1 for c in found.values()):
            say("one user says nothing of others: there is no interval")


def _of_several(c: Comparison) -> tuple[str, ...]:
    interval = f"[{c.interval[0]:+.4f}, {c.interval[1]:+.4f}]"
    return interval, f"{c.p_adjusted:.2g}", f"{c.dz:+.2f}", f"{c.detectable:.4f}"


def _one(folder: Path) -> list[Result]:
    results = results_below([folder])
    names = sorted({r.experiment for r in results})
    if len(names) > 1:
        raise UsageError(f"{folder} holds several experiments: {names}; give the folder of one")
    return results
