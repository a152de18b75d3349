"""A graph as named tensors with its structure beside them, and back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor

from mmgraph.data.files import hash_bytes, hash_file, write_atomically
from mmgraph.experiment.identity import describe, hash_graph
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


def packed(graph: MultimodalGraph, seen: CSR | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
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


def write_graph(
    path: Path, tensors: dict[str, Tensor], graph: MultimodalGraph, seen: CSR | None, shared: Path | None
) -> str:
    """Writes what :func:`packed` made, as a link to an equal one in ``shared`` where that is given; its hash."""
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


def unpacked(tensors: dict[str, Tensor], told: dict[str, Any]) -> tuple[MultimodalGraph, Tensor | None]:
    """The graph of :func:`packed`, and the pairs [2, E] of ``seen`` where it was more than the graph's."""
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
