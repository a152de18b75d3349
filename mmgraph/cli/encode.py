"""``mmgraph encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say, this_command


def encode(
    data: Annotated[Path, typer.Argument(help="A media folder, or another known layout with media, as MovieLens.")],
    text: Annotated[str | None, typer.Option(help="minilm, use, hash, or a Hugging Face folder.")] = None,
    image: Annotated[str | None, typer.Option(help="efficientnet-lite0, hash, or a Hugging Face folder.")] = None,
    audio: Annotated[str | None, typer.Option(help="mfcc, hash, or a Hugging Face folder.")] = None,
    video: Annotated[str | None, typer.Option(help="A VideoMAE-type model's folder.")] = None,
    generation: Annotated[bool, typer.Option("--generation", help="Also encode generation metadata.")] = False,
    text_columns: Annotated[
        str | None, typer.Option(help="As title,genres; by default title, description, caption, tags, genres.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where features go; by default DATA/features.")] = None,
    store: Annotated[Path | None, typer.Option(help="The feature store; by default DATA/.features.")] = None,
    device: Annotated[str, typer.Option(help="Where networks run.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Turn the raw media of a folder into features, once."""
    with errors_for_people(lambda: f"what is encoded is kept; to go on: {this_command()}"):
        if not data.exists():
            raise UsageError(f"no such folder: {data}")
        from mmgraph.encoders import encode_folder

        chosen = {"text": text, "image": image, "audio": audio, "video": video, "generation": generation}
        columns = None if text_columns is None else [name.strip() for name in text_columns.split(",")]
        where = {"out": out, "store": store, "device": device}
        summary = encode_folder(data, **chosen, text_columns=columns, **where, progress=True)
        if as_json:
            print_json(summary.model_dump(mode="json"))
        else:
            say(summary.text())
