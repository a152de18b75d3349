"""``mmgraph probe``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say_table
from mmgraph.cli.sources import load_experiment

if TYPE_CHECKING:
    import polars as pl

    from mmgraph.data import Dataset


def probe(
    source: Annotated[
        str,
        typer.Argument(metavar="FOLDER|MODULE:FUNCTION", help="A dataset's folder, or an experiment's function."),
    ],
    modality: Annotated[list[str] | None, typer.Option(help="Which; may be given again. All without it.")] = None,
    features: Annotated[
        list[str] | None,
        typer.Option("--features", metavar="NAME=FILE", help="Judge a matrix too: .npy or .pt, one row a video."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the deal of videos and users.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge features by clicks: AUC on videos disjoint from those they were fit on, with an interval, per modality.

    An experiment's training part is read, never its test; a folder is read as `mmgraph inspect` does, and taken whole.
    """
    with errors_for_people():
        from mmgraph.features import probe_dataset

        dataset, interactions = _read(source)
        for text in features or []:
            name, equals, file = text.partition("=")
            if not equals or not name or not file:
                raise UsageError(f"--features {text}: write NAME=FILE, as --features mine=mine.npy")
            dataset = dataset.with_features(**{name: _matrix(Path(file))})
        found = probe_dataset(dataset, modality or (), interactions=interactions, seed=seed)
        if as_json:
            told = {name: each.model_dump() | {"interval": each.interval} for name, each in found.items()}
            print_json({"dataset": dataset.name, "seed": seed, "probes": told})
            return
        rows = [
            [name, f"{p.auc:.4f}", "[{:.4f}, {:.4f}]".format(*p.interval), f"{p.shuffled:.4f}", p.users, p.videos]
            for name, p in found.items()
        ]
        columns = ("AUC", "95 % interval", "shuffled", "users", "videos")
        say_table(
            f"{dataset.name}: click AUC on held-out videos; .5 says nothing",
            {"modality": "left", **dict.fromkeys(columns, "right")},
            rows,
        )


def _read(source: str) -> tuple[Dataset, pl.DataFrame | None]:
    """The dataset, and the training part where a split says which that is."""
    if ":" in source and not Path(source).exists():
        split = load_experiment(source).split()
        return split.dataset, split.train
    from mmgraph.data import read_any

    if not Path(source).exists():
        raise UsageError(f"no folder {source}; an experiment is MODULE:FUNCTION")
    return read_any(source), None


def _matrix(path: Path):
    """A matrix of a file; it runs no code.

    Raises:
        UsageError: no such file, or of another kind.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}")
    if path.suffix == ".npy":
        import numpy as np

        return np.load(path, allow_pickle=False)
    if path.suffix == ".pt":
        import torch

        return torch.load(path, weights_only=True)
    raise UsageError(f"{path}: give a .npy or a .pt file with one row a video")
