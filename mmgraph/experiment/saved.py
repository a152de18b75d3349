"""A trained model as a folder: weights, configuration, the graph it reads, raw ids. Reading one runs no code of others.

==========================  =======================================================================================
``model.json``              the model's class by name, its arguments, the protocol, the hash of every other file
``weights.safetensors``     ``model.state_dict()``
``graph.safetensors``       nodes, edges and their attributes, features: all that ``encode`` reads
``users.parquet``           raw ids in row order
``videos.parquet``          raw ids in row order, titles and further columns, tags and other entities as lists
``constraint.safetensors``  what may be shown, where something limits it
==========================  =======================================================================================
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mmgraph.constraint import Constraint
from mmgraph.data.dataset import Dataset
from mmgraph.data.files import MEND, DamagedFile, hash_bytes, read_json, write_atomically, write_json
from mmgraph.experiment.identity import describe
from mmgraph.experiment.saved_arguments import encoded, made, named
from mmgraph.experiment.saved_constraint import packed_constraint, unpacked_constraint
from mmgraph.experiment.saved_graph import packed, unpacked, write_graph
from mmgraph.experiment.saved_ids import dataset_of, video_table
from mmgraph.models import Recommender
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

MODEL, WEIGHTS, GRAPH = "model.json", "weights.safetensors", "graph.safetensors"
USERS, VIDEOS = "users.parquet", "videos.parquet"
CONSTRAINT = "constraint.safetensors"  # only where there is one
FILES = (MODEL, WEIGHTS, GRAPH, USERS, VIDEOS)
FORMAT = 1

Make = Callable[["MultimodalGraph"], Recommender]


@dataclass(frozen=True)
class Saved:
    """What :func:`load` read.

    Attributes:
        model: with its weights, in evaluation mode.
        graph: what it reads.
        dataset: vocabularies, titles, columns, entities and seen interactions, for
            :func:`mmgraph.recommend.recommend_ids`. None where the folder was saved without raw ids.
        protocol: of the split it was trained on, as plain values, or None.
        folder: where it lies.
        limits: the constraint as it was saved, see :attr:`constraint`.
    """

    model: Recommender
    graph: MultimodalGraph
    dataset: Dataset | None
    protocol: dict[str, Any] | None
    folder: Path
    limits: tuple[dict[str, Tensor], dict[str, Any]] | None = None

    @property
    def constraint(self) -> Constraint:
        """What may be shown: what the experiment's constraint permits, and nothing that a user has seen.

        Raises:
            CodeNeeded: (a ValueError) it has a rule of somebody's own, which a file cannot hold.
        """
        saved = Constraint(self.graph.num_videos) if self.limits is None else unpacked_constraint(*self.limits)
        return saved.over(self.graph.num_videos).with_seen(self.seen)

    @property
    def seen(self) -> CSR:
        """CSR [U, V] of what users have seen: the interactions before any transform took some out of the graph."""
        if self.dataset is None:
            return self.graph.seen
        rows = [torch.tensor(self.dataset.interactions[name].to_numpy()) for name in ("user", "video")]
        return CSR.from_edges(rows[0], rows[1], (self.dataset.num_users, self.dataset.num_videos))


def save(
    model: Recommender,
    folder: str | Path,
    graph: MultimodalGraph | None = None,
    dataset: Dataset | None = None,
    *,
    args: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    seen: CSR | None = None,
    constraint: Constraint | None = None,
    shared: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a model as a folder; ``model.json`` comes last, so that where it is, the rest is whole.

    Args:
        model: trained.
        folder: made when it does not exist.
        graph: what the model reads. Without it :func:`load` has to be given one.
        dataset: raw ids and titles, rows as in the graph.
        args: the arguments the model was made with, after the graph; by default those it remembers (``made_with``).
        protocol: of the split, as ``split.protocol.model_dump()``.
        seen: CSR [U, V] where it is more than the graph's interactions, because a transform thinned them.
        constraint: what may be shown by whoever loads the folder; its seen pairs are ``seen``.
        shared: a folder where equal graphs lie once: ``graph.safetensors`` becomes a hard link to the one there.
        overwrite: replace a model that lies in the folder.

    Returns:
        The folder.

    Raises:
        ValueError: the folder holds a model, or graph and dataset are of different sizes.
        WriteFailed: (an OSError) a full disk, for one.
    """
    folder = Path(folder)
    if (folder / MODEL).exists() and not overwrite:
        raise ValueError(f"{folder} holds a model: give another folder, or overwrite=True")
    if graph is not None and dataset is not None:
        sizes = (graph.num_users, graph.num_videos), (dataset.num_users, dataset.num_videos)
        if sizes[0] != sizes[1]:
            raise ValueError(f"the graph has {sizes[0]} users and videos, the dataset {sizes[1]}")
    for name in (*FILES, CONSTRAINT):
        (folder / name).unlink(missing_ok=True)
    given = dict(model.made_with if args is None else args)
    written: dict[str, Any] = {
        "format": FORMAT,
        "model": named(type(model)),
        "args": {key: encoded(value) for key, value in given.items()},
        "described": describe(given),
        "protocol": None if protocol is None else describe(protocol),
        "graph": None,
    }
    files = {WEIGHTS: write_atomically(folder / WEIGHTS, _weights(model))}
    if graph is not None:
        tensors, written["graph"] = packed(graph, seen)
        files[GRAPH] = write_graph(folder / GRAPH, tensors, graph, seen, None if shared is None else Path(shared))
    if dataset is not None:
        videos = video_table(dataset)
        files[USERS] = write_atomically(folder / USERS, _parquet(pl.DataFrame([dataset.user_ids.ids.alias("id")])))
        files[VIDEOS] = write_atomically(folder / VIDEOS, _parquet(videos))
        written["dataset"] = dataset.name
    if constraint is not None:
        tensors, written["constraint"] = packed_constraint(constraint)
        files[CONSTRAINT] = write_atomically(folder / CONSTRAINT, safetensors.torch.save(tensors))
    write_json(folder / MODEL, {**written, "files": files})
    return folder


def load(
    folder: str | Path, *, model: type[Recommender] | Make | Recommender | None = None, graph: Any = None
) -> Saved:
    """Reads a run's folder or what :func:`save` wrote; every hash is checked.

    The files say which class the model is, but nothing they say is imported: models of :mod:`mmgraph.models` are
    found by their name, any other is made by the code you name.

    Args:
        folder: such as ``runs/lightgcn/0``.
        model: the class, for a model that is not mmgraph's own; or a function of the graph that makes it, where an
            argument was no plain value; or the model itself, which then gets the weights.
        graph: in place of the saved one.

    Raises:
        FileNotFoundError: no model there.
        DamagedFile: (a ValueError) a file is not what was written; the message names it.
        CodeNeeded: (a ValueError) ``model`` is needed and not given.
        ValueError: ``graph`` is needed and not given, or the weights are of another model.
    """
    folder = Path(folder)
    if not (folder / MODEL).exists():
        state = "no such folder" if not folder.is_dir() else "no model.json there"
        raise FileNotFoundError(f"cannot load {folder}: {state}; give a finished run, or what mmgraph.save wrote")
    told = read_json(folder / MODEL, "model")
    if told.get("format") != FORMAT or not isinstance(told.get("files"), dict):
        raise DamagedFile(f"{folder / MODEL} is of format {told.get('format')!r}; this version reads {FORMAT}; {MEND}")
    extra = None
    if graph is None:
        if GRAPH not in told["files"]:
            raise ValueError(f"{folder} was saved without a graph: give load(folder, graph=…)")
        graph, extra = unpacked(_tensors(folder, GRAPH, told["files"]), told["graph"])
    recommender = made(told, folder, model, graph)
    fill(recommender, _tensors(folder, WEIGHTS, told["files"]), folder / WEIGHTS)
    dataset = _dataset(folder, told, graph, extra) if USERS in told["files"] else None
    limits = None
    if told.get("constraint") is not None:
        limits = _tensors(folder, CONSTRAINT, told["files"]), told["constraint"]
    return Saved(recommender.eval(), graph, dataset, told.get("protocol"), folder, limits)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights in a folder that :func:`save` wrote, their hash checked.

    Raises:
        FileNotFoundError: no model there.
        DamagedFile: a file is not what was written.
    """
    return _tensors(folder, WEIGHTS, read_json(folder / MODEL, "model")["files"])


def fill(model: Recommender, weights: Mapping[str, Tensor], where: Path) -> None:
    """Puts weights into a model; buffers of a closed form take the size they were solved to.

    Raises:
        ValueError: another model's weights.
    """
    for module_name, module in model.named_modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            new = weights.get(f"{module_name}.{name}" if module_name else name)
            if new is not None and new.shape != buffer.shape:
                setattr(module, name, torch.empty_like(new, device=buffer.device))
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{where} does not fit {type(model).__name__}: {text}") from None


def _weights(model: Recommender) -> bytes:
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    return safetensors.torch.save(state)


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _tensors(folder: Path, name: str, hashes: Mapping[str, str]) -> dict[str, Tensor]:
    content = _content(folder, name, hashes)
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamagedFile(f"{folder / name} holds no tensors: {error}") from None


def _content(folder: Path, name: str, hashes: Mapping[str, str]) -> bytes:
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}; {MEND}") from None
    if hash_bytes(content) != hashes.get(name):
        raise DamagedFile(f"{path} is not what was written with {MODEL} beside it (its hash differs); {MEND}")
    return content


def _frame(folder: Path, name: str, hashes: Mapping[str, str]) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(_content(folder, name, hashes)))
    except pl.exceptions.PolarsError as error:
        raise DamagedFile(f"{folder / name} cannot be read: {error}") from None


def _dataset(folder: Path, told: dict[str, Any], graph: MultimodalGraph, extra: Tensor | None) -> Dataset:
    users, videos = (_frame(folder, name, told["files"]) for name in (USERS, VIDEOS))
    return dataset_of(str(told.get("dataset")), users, videos, graph, extra)
