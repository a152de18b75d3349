"""The graphs of like videos of several modalities, joined into one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class JoinKNN:
    """Adds edges ``(video, similar_<name>, video)`` made of several modalities' ``similar_`` edges.

    ``"max"``: each pair's largest weight (SMORE's fused graph). ``"agree"``: pairs that at least ``agree`` modalities
    have, weight 1, both ways (what GUME adds to the user–video graph).

    Args:
        how: as above.
        name: of the new edges.
        modalities: which; all that have ``similar_`` edges by default.
        agree: in how many lists a pair must stand.

    Raises:
        ValueError: another ``how``.
    """

    how: Literal["max", "agree"] = "max"
    name: str = "fused"
    modalities: Sequence[str] | None = None
    agree: int = 2

    def __post_init__(self) -> None:
        if self.how not in ("max", "agree"):
            raise ValueError(f"how must be 'max' or 'agree', got {self.how!r}")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them).

        Raises:
            ValueError: no modality with ``similar_`` edges.
        """
        names = list(graph.modalities if self.modalities is None else self.modalities)
        stores = [graph[t] for t in (("video", f"similar_{m}", "video") for m in names) if t in graph.edge_types]
        if not stores:
            raise ValueError(
                f"JoinKNN joins similar_ edges of {names}, which this graph lacks: apply ModalityKNN first"
            )
        edges, weight = torch.cat([s.edge_index for s in stores], 1), torch.cat([s.weight for s in stores])
        edges, weight = edges[:, weight > 0], weight[weight > 0]
        key, place = torch.unique(edges[0] * graph.num_videos + edges[1], return_inverse=True)
        if self.how == "max":
            value = weight.new_zeros(len(key)).scatter_reduce_(0, place, weight, "amax")
        else:
            both = torch.bincount(place, minlength=len(key)) >= min(self.agree, len(stores))
            source, target = key[both] // graph.num_videos, key[both] % graph.num_videos
            apart = source != target
            pair = torch.cat([torch.stack([source, target]), torch.stack([target, source])], 1)[:, apart.repeat(2)]
            key = torch.unique(pair[0] * graph.num_videos + pair[1])
            value = torch.ones(len(key), device=key.device)
        out = copy.copy(graph)
        store = out["video", f"similar_{self.name}", "video"]
        store.edge_index = torch.stack([key // graph.num_videos, key % graph.num_videos])
        store.weight = value
        return out
