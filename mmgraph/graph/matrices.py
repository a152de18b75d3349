"""Edges as sparse matrices: several types over their stacked nodes, or one type alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgraph.ops import CSR
from mmgraph.ops.csr import Norm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

EdgeType = tuple[str, str, str]


def stacked(graph: MultimodalGraph, types: Sequence[EdgeType], norm: Norm | None, weighted: bool) -> CSR:
    """The matrix of :meth:`MultimodalGraph.adjacency`, made."""
    offsets, stores = graph.offsets(types), [graph[t] for t in types]
    total = sum(int(graph[t].num_nodes) for t in offsets)
    any_weight = weighted and any("weight" in s for s in stores)
    rows, cols, weights = [], [], []
    for (source, _, target), store in zip(types, stores, strict=True):
        col, row = store.edge_index[0] + offsets[source], store.edge_index[1] + offsets[target]
        weight = store.weight if "weight" in store and weighted else torch.ones_like(row, dtype=torch.float)
        both = source != target
        rows += [row, col] if both else [row]
        cols += [col, row] if both else [col]
        weights += [weight, weight] if both else [weight]
    symmetric = norm != "row" and all(s != t for s, _, t in types)
    values = torch.cat(weights) if any_weight else None
    raw = CSR.from_edges(torch.cat(rows), torch.cat(cols), (total, total), values, symmetric=symmetric)
    return raw.normalized(norm) if norm else raw


def related(store: Any, shape: tuple[int, int], norm: Norm | None, weight: Tensor | None) -> CSR:
    """The matrix of :meth:`MultimodalGraph.relation`, made from the store of its edges."""
    raw = CSR.from_edges(store.edge_index[1], store.edge_index[0], shape, weight)
    return raw.normalized(norm) if norm else raw


def listed(edge_types: Sequence[EdgeType | str] | EdgeType | str) -> list[EdgeType | str]:
    """One edge type, as a name or a triple of names, or several of them: as a list."""
    if isinstance(edge_types, str):
        return [edge_types]
    if not isinstance(edge_types, Iterable):
        raise TypeError(f"edge_types must be a name or a list of names, got {edge_types!r}")
    edge_types = list(edge_types)
    if len(edge_types) == 3 and edge_types[0] in ("user", "video"):
        source, relation, target = map(str, edge_types)
        return [(source, relation, target)]
    return list(edge_types)
