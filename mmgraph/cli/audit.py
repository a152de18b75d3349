"""``mmgraph audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say, say_table, this_command
from mmgraph.cli.sources import load_experiment

if TYPE_CHECKING:
    from mmgraph.audit import Audit

AUDIT_PAGE = "audit.html"


def audit(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/lightgcn/0.")],
    source: Annotated[
        str | None, typer.Option(help="The experiment's function, MODULE:FUNCTION, that made it.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Such as recall@20 or cold/recall@20.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME=A,B", help="Modalities that go together; may be given again."),
    ] = None,
    refit: Annotated[
        bool | None, typer.Option("--refit/--no-refit", help="Train anew on each changed graph; closed forms always.")
    ] = None,
    rates: Annotated[
        str, typer.Option(help="Shares of videos that lose a modality; '' for none.")
    ] = "0.1,0.3,0.5,0.7,0.9",
    noise: Annotated[float, typer.Option(min=0, help="Noise in standard deviations.")] = 1.0,
    pairs: Annotated[int, typer.Option(min=0, help="Users whose first video is explained; 0 for none.")] = 30,
    stage: Annotated[str, typer.Option(help="valid; test where this run has opened it.")] = "valid",
    seed: Annotated[int, typer.Option(help="Of what is random in the audit.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The page; by default RUN/audit.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what each modality is worth to a trained model, with intervals, and write a page."""
    with errors_for_people(lambda: f"to go on: {this_command()}"):
        if stage not in ("valid", "test"):
            raise UsageError(f"--stage is valid or test, not {stage!r}")
        from mmgraph.audit import AuditConfig, audit_run
        from mmgraph.report import write_audit

        run = _seed_of(folder)
        if source is None:
            raise UsageError(
                f"an audit ranks on the data again: say which function made the run, --source {_hint(run)}"
            )
        experiment = load_experiment(source)
        members = {member.name: member for member in (experiment, *experiment.baselines)}
        name = run.resolve().parent.name
        if name not in members:
            raise UsageError(f"{source} returns {sorted(members)}, but the folder is of {name!r}")
        config = AuditConfig(
            metric=metric,
            groups=None if group is None else dict(map(_group, group)),
            stage=stage,  # type: ignore[arg-type]
            noise=noise,
            rates=_rates(rates),
            pairs=pairs,
            seed=seed,
        )
        found = audit_run(run, members[name], config, refit=refit, progress=True)
        page = write_audit(found, run / AUDIT_PAGE if out is None else out)
        if as_json:
            print_json(found.model_dump(mode="json") | {"page": str(page)})
            return
        _show(found)
        say(f"page: {page}")


def _show(found: Audit) -> None:
    kinds = [k for k in ("drop", "alone", "shapley", "shuffle", "noise") if any(r.kind == k for r in found.effects)]
    rows = []
    for name in found.groups:
        effects = [found.effect(name, kind) for kind in kinds]  # type: ignore[arg-type]
        cells = ["–" if e.mean is None else f"{e.mean:+.4f} [{e.low:+.4f}, {e.high:+.4f}]" for e in effects]
        rows.append([name, *cells])
    how = "trained anew" if found.refit else "as trained"
    title = (
        f"{found.experiment}, {found.metric} on {found.stage}, {how}: {found.full:.4f} with all, {found.none:.4f} none"
    )
    say_table(title, {"group": "left", **dict.fromkeys(kinds, "right")}, rows)
    for note in found.notes:
        say(note)


def _seed_of(folder: Path) -> Path:
    """The folder of a seed: itself, or its lowest that trained.

    Raises:
        UsageError: no such folder, or no trained model in it.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; runs lie in runs/<experiment>/<seed>")
    if (folder / "model.json").exists():
        return folder
    seeds = [p.parent for p in folder.glob("*/model.json") if p.parent.name.isdigit()]
    if not seeds:
        raise UsageError(f"no trained model in {folder}: give runs/<experiment>/<seed>")
    return min(seeds, key=lambda p: int(p.name))


def _hint(run: Path) -> str:
    from mmgraph.experiment import Result

    if not (run / "result.json").exists():
        return "MODULE:FUNCTION"
    said = Result.load(run).source
    return f"{said} (where the run says it came from)" if said else "MODULE:FUNCTION"


def _group(text: str) -> tuple[str, tuple[str, ...]]:
    name, equals, modalities = text.partition("=")
    if not equals or not name or not modalities:
        raise UsageError(f"--group {text}: write NAME=MODALITY,MODALITY, as --group look=visual,scene")
    return name, tuple(modalities.split(","))


def _rates(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"--rates {text}: write shares, as --rates 0.1,0.5,0.9") from None
