"""A graph with what came after it was built: further interactions, further videos. The old one is unchanged."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgraph.graph.events import INTERACTS
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


def with_interactions(
    graph: MultimodalGraph,
    user: Tensor,
    video: Tensor,
    time: Tensor | None = None,
    weight: Tensor | None = None,
    signals: Mapping[str, Tensor] | None = None,
) -> MultimodalGraph:
    """:meth:`MultimodalGraph.with_interactions`."""
    old = graph[INTERACTS]
    user = checks.rows(user, graph.num_users, "user", like=old.edge_index)
    video = checks.rows(video, graph.num_videos, "video", like=old.edge_index)
    if user.shape != video.shape:
        raise ValueError(f"user {list(user.shape)} and video {list(video.shape)} must both be [n]")
    if "time" in old and time is None:
        raise ValueError("this graph's edges have times: give `time` (UTC seconds) for the new ones")
    out = copy.copy(graph)
    store = out[INTERACTS]
    store.edge_index = torch.cat([old.edge_index, torch.stack([user, video])], 1)
    if "time" in old and time is not None:
        new = _beside(time, user, "time")
        if bool(new.isnan().any()):
            raise ValueError("time must be seconds, got NaN")
        store.time = torch.cat([old.time, new.to(old.time)])
    if "weight" in old:
        new = torch.ones(len(user)) if weight is None else _beside(weight, user, "weight")
        store.weight = torch.cat([old.weight, new.to(old.weight)])
    given = {} if signals is None else signals
    known = [key for key in old if key not in ("edge_index", "time", "weight")]
    for name in given.keys() - set(known):
        raise KeyError(f"no signal {name!r} on this graph's interactions; there are {known}")
    for name in known:
        new = _beside(given.get(name, torch.full((len(user),), torch.nan)), user, f"signals[{name!r}]")
        store[name] = torch.cat([old[name].float(), new.to(old[name].device).float()])
    out["video", "rev_interacts", "user"].edge_index = store.edge_index.flip(0)
    return out


def with_videos(graph: MultimodalGraph, features: Mapping[str, Features], count: int | None = None) -> MultimodalGraph:
    """:meth:`MultimodalGraph.with_videos`."""
    if count is not None:
        checks.count(count, "count", 0)
    sizes = {m: len(f.values) for m, f in features.items()}
    n = count if count is not None else next(iter(sizes.values()), 0)
    if any(size != n for size in sizes.values()):
        raise ValueError(f"features of {n} new videos expected, got rows {sizes}")
    out = copy.copy(graph)
    start = graph.num_videos
    out["video"].num_nodes = start + n
    for modality, new in features.items():
        if modality not in graph.modalities:
            raise KeyError(f"no modality {modality!r} in this graph; it has {graph.modalities}")
        node, link = graph[modality], graph["video", "has", modality].edge_index
        if new.values.shape[1] != node.x.shape[1]:
            raise ValueError(f"{modality}: width {new.values.shape[1]}, but the graph's is {node.x.shape[1]}")
        present = checks.flags(new.present, n, f"features[{modality!r}].present")
        rows = present.nonzero().flatten()
        ids = torch.arange(len(rows), device=link.device) + node.x.shape[0]
        out[modality].x = torch.cat([node.x, new.values[rows].to(node.x)])
        edges = torch.cat([link, torch.stack([rows.to(link.device) + start, ids])], 1)
        out["video", "has", modality].edge_index = edges
        out[modality, "rev_has", "video"].edge_index = edges.flip(0)
    return out


def _beside(values: Any, rows: Tensor, name: str) -> Tensor:
    """One real number for each row."""
    if not isinstance(values, Tensor) or values.is_complex():
        raise TypeError(f"{name} must be a tensor of numbers, got {values!r}")
    if values.shape != rows.shape:
        raise ValueError(f"{name} must be [{len(rows)}], one for each of user, got {list(values.shape)}")
    return values.to(rows.device)
