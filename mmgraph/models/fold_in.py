"""Closed forms for people who came after training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


def ridge_users(video: Tensor, clicks: CSR, reg: float = 1.0, background: float = 0.1) -> Tensor:
    """Ridge regression on frozen videos, as implicit ALS solves a user: rows [n, D].

    u = argmin Σ_{j∈clicks} (1 − uᵀv_j)² + b Σ_v (uᵀv)² + λ‖u‖² = ( V_cᵀV_c + b VᵀV + λI )^-1 V_cᵀ1. Hu et al., ICDM
    2008, https://doi.org/10.1109/ICDM.2008.22.

    Args:
        video: V, [V, D].
        clicks: CSR [n, V], one row a person; a person without clicks gets 0.
        reg: λ.
        background: b, how much every other video counts as a 0.
    """
    width = video.shape[1]
    base = background * (video.T @ video) + reg * torch.eye(width, dtype=video.dtype, device=video.device)
    out = video.new_zeros(clicks.shape[0], width)
    for row in range(clicks.shape[0]):
        chosen = video[clicks.indices[clicks.indptr[row] : clicks.indptr[row + 1]].long()]
        out[row] = torch.linalg.solve(base + chosen.T @ chosen, chosen.sum(0))
    return out


def profile_rows(graph: MultimodalGraph, user: Tensor, profiles: Tensor, reg: float = 1.0) -> Tensor:
    """Rows of people of whom only a profile is known: a linear map from profiles to rows, learned from the known users.

    W = argmin Σ_u ‖[x_u ; 1]ᵀ W − e_u‖² + λ‖W‖², over users with an interaction; the new row is [x ; 1]ᵀ W. Gantner et
    al., "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations", ICDM 2010,
    https://doi.org/10.1109/ICDM.2010.129.

    Args:
        graph: gives the known users' profiles, ``graph["user"].x`` [U, F].
        user: the known users' rows, [U, D].
        profiles: [n, F].
        reg: λ.

    Returns:
        [n, D].

    Raises:
        ValueError: a graph without profiles, profiles of another width, or no user with an interaction.
    """
    known = graph["user"].x if "x" in graph["user"] else None
    if known is None:
        raise ValueError(
            "a profile was given, but this graph's users have none (graph[\"user\"].x): read the users' table"
        )
    if profiles.dim() != 2 or profiles.shape[1] != known.shape[1]:
        raise ValueError(f"profiles must be [n, {known.shape[1]}] like graph['user'].x, got {list(profiles.shape)}")
    active = graph.seen.degree() > 0
    if not bool(active.any()):
        raise ValueError("profiles are mapped through users with an interaction, and this graph has none")

    def with_one(x: Tensor) -> Tensor:
        return torch.cat([x.to(user), user.new_ones(len(x), 1)], 1)

    x = with_one(known[active])
    ridge = reg * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return with_one(profiles) @ torch.linalg.solve(x.T @ x + ridge, x.T @ user[active])
