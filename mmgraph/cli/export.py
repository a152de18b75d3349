"""``mmgraph export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.recommend import maker, seed_folder
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say

if TYPE_CHECKING:
    from mmgraph.bundle import Training
    from mmgraph.experiment import Result


def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or what mmgraph.save wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write the towers as ONNX too.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of the bundle that is there.")] = False,
    trainable: Annotated[
        bool, typer.Option("--trainable", help="Take the model along, so that mmgraph refresh can go on training.")
    ] = False,
    distil: Annotated[
        bool, typer.Option(help="Train towers where the model has none of its own; --no-distil takes closed forms.")
    ] = True,
    features: Annotated[
        Path | None,
        typer.Option(help="What mmgraph encode wrote and the run read: the server then encodes new videos' media."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The experiment's function, for a model that is not mmgraph's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a trained model as a bundle: a folder that `mmgraph serve` serves."""
    with errors_for_people():
        from mmgraph import bundle
        from mmgraph.bundle.passports import read_passports
        from mmgraph.experiment import CodeNeeded, Result, load

        where = seed_folder(folder)
        result = Result.load(where) if (where / "result.json").exists() else None
        try:
            ready = load(where, model=maker(source, result))
        except CodeNeeded as error:
            raise UsageError(f"{error}\non the command line: --source MODULE:FUNCTION") from None
        if ready.dataset is None:
            raise UsageError(f"{folder} was saved without raw ids")
        passports = None if features is None else read_passports(features, ready.graph, ready.dataset)
        made = bundle.export(
            ready.model,
            ready.graph,
            ready.dataset,
            out,
            name=None if result is None else result.experiment,
            onnx=onnx,
            replace=replace,
            protocol=ready.protocol,
            metrics=None if result is None else result.test,
            passports=passports,
            seen=ready.seen,
            distil=distil,
            training=_training(result) if trainable else None,
        )
        manifest = made.manifest
        if as_json:
            print_json({"folder": str(out), "bundle": made.id, **manifest.model_dump(exclude={"files"})})
            return
        say(f"{manifest.name}: {manifest.users:,} users, {manifest.videos:,} videos, bundle {made.id} in {out}")
        for name, tower in (("new videos", manifest.cold), ("user tower", manifest.user)):
            if tower is not None:
                say(f"{name}: {tower.kind}, {tower.about}")
        for note in manifest.notes:
            say(note)
        if closed := int((~ready.constraint.columns).sum()):
            say(f"{closed:,} videos that the run's constraint closes are open in the bundle: hide them in its log")
        say(f"serve it: mmgraph serve {out} --log events.db")


def _training(result: Result | None) -> Training:
    """How a run was trained; mmgraph's defaults for a model that was saved without a run."""
    from mmgraph.bundle import Training
    from mmgraph.train import FitConfig

    names = ("learning_rate", "batch_size", "weight_decay")
    told = FitConfig().model_dump(include=set(names)) if result is None else result.config["fit"]
    return Training(**{name: told[name] for name in names})
