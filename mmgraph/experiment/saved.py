"""A trained model as a folder: weights, configuration, the graph it reads, raw ids. Reading one runs no code of others.

=======================  ==========================================================================================
``model.json``           the model's class by name, its arguments, the protocol, the hash of every other file
``weights.safetensors``  ``model.state_dict()``
``graph.safetensors``    nodes, edges and their attributes, features: all that ``encode`` reads
``users.parquet``        raw ids in row order
``videos.parquet``       raw ids in row order, titles and further columns, tags and other entities as lists
=======================  ==========================================================================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import safetensors.torch
import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from torch import Tensor

from mmgraph.data.dataset import Dataset, Entities
from mmgraph.data.errors import Source
from mmgraph.data.files import MEND, DamagedFile, hash_bytes, hash_file, read_json, write_atomically, write_json
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.experiment.identity import describe, hash_graph
from mmgraph.models import Recommender
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

MODEL, WEIGHTS, GRAPH = "model.json", "weights.safetensors", "graph.safetensors"
USERS, VIDEOS = "users.parquet", "videos.parquet"
FILES = (MODEL, WEIGHTS, GRAPH, USERS, VIDEOS)
FORMAT = 1

Make = Callable[["MultimodalGraph"], Recommender]


class CodeNeeded(ValueError):
    """Only the person's own code can make what was saved, and a file's word is no reason to run any."""


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
    """

    model: Recommender
    graph: MultimodalGraph
    dataset: Dataset | None
    protocol: dict[str, Any] | None
    folder: Path

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
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    given = dict(model.made_with if args is None else args)
    written: dict[str, Any] = {
        "format": FORMAT,
        "model": _named(type(model)),
        "args": {key: _encoded(value) for key, value in given.items()},
        "described": describe(given),
        "protocol": None if protocol is None else describe(protocol),
        "graph": None,
    }
    files = {WEIGHTS: write_atomically(folder / WEIGHTS, _weights(model))}
    if graph is not None:
        tensors, written["graph"] = _packed(graph, seen)
        files[GRAPH] = _write_graph(folder / GRAPH, tensors, graph, seen, None if shared is None else Path(shared))
    if dataset is not None:
        videos = _described(dataset)
        files[USERS] = write_atomically(folder / USERS, _parquet(pl.DataFrame([dataset.user_ids.ids.alias("id")])))
        files[VIDEOS] = write_atomically(folder / VIDEOS, _parquet(videos))
        written["dataset"] = dataset.name
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
        graph, extra = _unpacked(_tensors(folder, GRAPH, told["files"]), told["graph"])
    made = _made(told, folder, model, graph)
    fill(made, _tensors(folder, WEIGHTS, told["files"]), folder / WEIGHTS)
    dataset = _dataset(folder, told, graph, extra) if USERS in told["files"] else None
    return Saved(made.eval(), graph, dataset, told.get("protocol"), folder)


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


def _described(dataset: Dataset) -> pl.DataFrame:
    """Raw ids, the text, whole-number and true-or-false columns of videos, and entities as lists of text."""
    out = {"id": dataset.video_ids.ids}
    for name in dataset.videos.columns[1:]:
        column = dataset.videos[name]
        if name != "id" and (column.dtype in (pl.String, pl.Boolean) or column.dtype.is_integer()):
            out[name] = column
    for name, entity in dataset.entities.items():
        if name not in out:
            lists: list[list[str]] = [[] for _ in range(dataset.num_videos)]
            raw = [str(value) for value in entity.ids.ids]
            for video, row in entity.edges.T.tolist():
                lists[video].append(raw[row])
            out[name] = pl.Series(lists, dtype=pl.List(pl.String))
    return pl.DataFrame(out)


def _entities(lists: pl.Series) -> Entities:
    """From a column of lists."""
    pairs = pl.DataFrame({"video": range(len(lists)), "entity": lists}).explode("entity").drop_nulls()
    ids, rows = Vocabulary.factorise(pairs["entity"], Source())
    return Entities(ids, torch.stack([torch.tensor(pairs["video"].to_numpy()), torch.tensor(rows)]))


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


# --- arguments --------------------------------------------------------------------------------------------------------


def _named(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _own() -> dict[str, Any]:
    """The classes that a saved model may name: what mmgraph's own rooms export."""
    from mmgraph import models, nn, objectives

    found = {name: getattr(room, name) for room in (nn, models) for name in room.__all__}
    return found | {name: value for name, value in vars(objectives).items() if _stands_in(value, objectives)}


def _stands_in(value: Any, room: Any) -> bool:
    return isinstance(value, type) and value.__module__ == room.__name__


def _encoded(value: Any) -> Any:
    """A plain value, or an object of plain fields, so that it can be read back; else a note that it cannot."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return describe(value)
    if isinstance(value, (list, tuple)):
        items = [_encoded(v) for v in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {"dict": {k: _encoded(v) for k, v in value.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encoded(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": _named(type(value)), "fields": fields}
    if isinstance(value, BaseModel):
        fields = {name: _encoded(getattr(value, name)) for name in type(value).model_fields}
        return {"class": _named(type(value)), "fields": fields}
    return {"unknown": _named(type(value))}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "tuple" in value:
        return tuple(_decoded(v) for v in value["tuple"])
    if "dict" in value:
        return {k: _decoded(v) for k, v in value["dict"].items()}
    kind = _own_class(value.get("class", ""))
    if kind is None:
        raise CodeNeeded(value.get("class") or value.get("unknown"))
    return kind(**{k: _decoded(v) for k, v in value["fields"].items()})


def _own_class(name: str) -> type | None:
    module, _, qualified = name.partition(":")
    found = _own().get(qualified) if module.partition(".")[0] == "mmgraph" else None
    return found if isinstance(found, type) else None


def _made(told: dict[str, Any], folder: Path, given: Any, graph: MultimodalGraph) -> Recommender:
    if isinstance(given, Recommender):
        return given
    kind = _own_class(told["model"]) if given is None else given
    with torch.random.fork_rng():
        if kind is not None and not isinstance(kind, type):
            return kind(graph)
        if kind is None or not issubclass(kind, Recommender):
            raise CodeNeeded(
                f"{folder} holds a {told['model']}, which is no model of mmgraph's own, and no code is run because a "
                "file names it: give its class, load(folder, model=…)"
            )
        try:
            arguments = {key: _decoded(value) for key, value in told["args"].items()}
        except CodeNeeded as error:
            raise CodeNeeded(
                f"{folder}: the {told['model']} was made with a {error}, which a file cannot hold: give a function of "
                "the graph that makes it, load(folder, model=lambda graph: …)"
            ) from None
        make: Any = kind
        return make(graph, **arguments)


# --- the graph --------------------------------------------------------------------------------------------------------


def _packed(graph: MultimodalGraph, seen: CSR | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the structure that puts them together again; reverse edges are told, not written."""
    tensors: dict[str, Tensor] = {}
    kinds: list[dict[str, Any]] = []
    for kind in (*graph.node_types, *graph.edge_types):
        store = graph[kind]
        told: dict[str, Any] = {"type": kind if isinstance(kind, str) else list(kind), "tensors": [], "values": {}}
        forward = _forward(graph, kind)
        for key, value in store.items():
            if not isinstance(value, Tensor):
                told["values"][key] = value
            elif key == "edge_index" and forward is not None and torch.equal(value, graph[forward][key].flip(0)):
                told["reverse_of"] = list(forward)
            else:
                told["tensors"].append(key)
                tensors[f"{len(kinds)}/{key}"] = value.detach().cpu().contiguous().clone()
        kinds.append(told)
    if seen is not None and not _same(seen, graph.seen):
        tensors["seen"] = torch.stack([seen.row_indices().long(), seen.indices.long()]).cpu()
    return tensors, {"kinds": kinds}


def _forward(graph: MultimodalGraph, kind: Any) -> tuple[str, str, str] | None:
    if isinstance(kind, str) or not kind[1].startswith("rev_"):
        return None
    forward = (kind[2], kind[1].removeprefix("rev_"), kind[0])
    return forward if forward in graph.edge_types else None


def _same(one: CSR, other: CSR) -> bool:
    return torch.equal(one.indptr, other.indptr) and torch.equal(one.indices, other.indices)


def _write_graph(
    path: Path, tensors: dict[str, Tensor], graph: MultimodalGraph, seen: CSR | None, shared: Path | None
) -> str:
    if shared is None:
        return write_atomically(path, safetensors.torch.save(tensors))
    told = describe([hash_graph(graph, features=True), None if seen is None else [seen.indptr, seen.indices]])
    common = shared / f"{hash_bytes(repr(told).encode())}.safetensors"
    if not common.exists():
        write_atomically(common, safetensors.torch.save(tensors))
    found = hash_file(common)
    with contextlib.suppress(OSError):
        os.link(common, path)
        return found
    return write_atomically(path, common.read_bytes())  # no hard links here, or another disk


def _unpacked(tensors: dict[str, Tensor], told: dict[str, Any]) -> tuple[MultimodalGraph, Tensor | None]:
    from mmgraph.graph.multimodal import MultimodalGraph

    graph = MultimodalGraph()
    for number, part in enumerate(told["kinds"]):
        kind = part["type"] if isinstance(part["type"], str) else tuple(part["type"])
        store = graph[kind]
        for key, value in part["values"].items():
            store[key] = value
        for key in part["tensors"]:
            store[key] = tensors[f"{number}/{key}"]
        if "reverse_of" in part:
            store["edge_index"] = graph[tuple(part["reverse_of"])].edge_index.flip(0)
    return graph, tensors.get("seen")


def _dataset(folder: Path, told: dict[str, Any], graph: MultimodalGraph, extra: Tensor | None) -> Dataset:
    frames = []
    for name in (USERS, VIDEOS):
        try:
            frames.append(pl.read_parquet(io.BytesIO(_content(folder, name, told["files"]))))
        except pl.exceptions.PolarsError as error:
            raise DamagedFile(f"{folder / name} cannot be read: {error}") from None
    users, videos = frames
    store = graph["user", "interacts", "video"]
    pairs = store.edge_index if extra is None else extra
    columns = {"user": pairs[0].numpy(), "video": pairs[1].numpy()}
    if extra is None and "time" in store:
        columns["time"] = store.time.numpy()
    lists = [name for name in videos.columns if isinstance(videos[name].dtype, pl.List)]
    return Dataset(
        name=str(told.get("dataset")),
        user_ids=Vocabulary(users["id"]),
        video_ids=Vocabulary(videos["id"]),
        interactions=pl.DataFrame(columns),
        users=users.rename({"id": "user_id"}),
        videos=videos.drop(lists).rename({"id": "video_id"}),
        entities={name: _entities(videos[name]) for name in lists},
    )
