"""Users joined to those who watched the same videos."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class UserCoInteraction:
    """Adds edges ``(user, co_watched, user)``: each user's ``k`` users of the most videos in common.

    Weights a_uj = softmax_j of the number in common (DualGNN, DRAGON), or 1/k.

    Args:
        k: neighbours a user, at most.
        softmax: as above.
    """

    k: int = 40
    softmax: bool = True

    def __post_init__(self) -> None:
        checks.count(self.k, "k")

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with the edges (replaced where it had them)."""
        import scipy.sparse as sp

        seen = graph.seen
        shape = (graph.num_users, graph.num_videos)
        key = torch.unique(seen.row_indices().long() * shape[1] + seen.indices.long()).cpu().numpy()
        x = sp.csr_matrix(([1.0] * len(key), (key // shape[1], key % shape[1])), shape=shape, dtype="float32")
        targets, sources, weights = [], [], []
        for start in range(0, shape[0], 2048):
            common = torch.from_numpy((x[start : start + 2048] @ x.T).toarray())
            line = torch.arange(len(common))
            common[line, line + start] = 0
            best = common.topk(min(self.k, shape[0]), dim=1)
            real = best.values > 0
            weight = best.values if self.softmax else torch.zeros_like(best.values)
            weight = weight.masked_fill(~real, -torch.inf).softmax(1)
            targets.append((line + start).unsqueeze(1).expand_as(best.indices)[real])
            sources.append(best.indices[real])
            weights.append(weight[real])
        out = copy.copy(graph)
        store = out["user", "co_watched", "user"]
        store.edge_index = torch.stack([torch.cat(sources), torch.cat(targets)]).to(seen.device)
        store.weight = torch.cat(weights).to(seen.device)
        return out
