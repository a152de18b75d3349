"""What linear item models share: a user is their row of interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgraph.models.base import ALL, Embeddings, People, Rows
from mmgraph.models.closed.base import ClosedForm
from mmgraph.models.fold_in import profile_rows
from mmgraph.ops import CSR

if TYPE_CHECKING:
    import scipy.sparse

    from mmgraph.graph.multimodal import MultimodalGraph


class LinearItemModel(ClosedForm):
    """Scores X W: a user's row of interactions times a video-to-video matrix. Base of ItemKNN and EASE.

    ``encode`` gives user = X, a :class:`mmgraph.ops.CSR` [U, V] of ones (its rows, dense, where rows are asked for), so
    that memory is that of the interactions and not U · V.
    """

    def __init__(self, graph: MultimodalGraph) -> None:
        super().__init__()

    def videos(self) -> Tensor | CSR:
        """Wᵀ, what a video's row is: [V, V]."""
        raise NotImplementedError(f"{type(self).__name__} has no videos()")

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user: X, CSR [U, V], or its rows, dense [B_u, V]; video: Wᵀ [V, V] or [B_v, V]."""
        clicks, video = interaction_matrix(graph), self.videos()
        user = clicks if rows.user is None else clicks.select(rows.user)[0].dense()
        if rows.video is not None:
            video = video.select(rows.video)[0] if isinstance(video, CSR) else rows.of_videos(video)
        return Embeddings(user, video)  # type: ignore[arg-type]

    def factors(self, emb: Embeddings) -> None:
        """None: rows are as wide as the catalogue."""
        return None

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """The clicks themselves are the row: exact, the score of a known user of these clicks.

        Of people without a click but with a profile, the clicks that the profile lets expect
        (:func:`mmgraph.models.profile_rows`).
        """
        clicks = people.click_matrix(graph.num_videos)
        video = self.videos()
        if clicks is None and people.features is None:
            raise ValueError(f"{type(self).__name__} reads clicks or profiles, and neither is given")
        user = torch.zeros(len(people), graph.num_videos, device=video.device)
        if clicks is not None:
            user = clicks.dense().clamp(max=1.0).to(user)
        if people.features is not None:
            expected = profile_rows(graph, interaction_matrix(graph).dense(), people.features)
            user = torch.where(user.any(1, keepdim=True), user, expected)
        return Embeddings(user, video)  # type: ignore[arg-type]


def clicks_of(emb: Embeddings, users: Tensor) -> Tensor:
    """Rows of clicks of some users, dense [B, V], whether ``emb`` holds all of them sparse or some of them dense."""
    rows: Any = emb.user
    return rows.select(users)[0].dense() if isinstance(rows, CSR) else rows[users]


def sparse_clicks(clicks: Tensor) -> CSR:
    """The same rows as a CSR: what is not 0, with its weight."""
    line, column = clicks.nonzero(as_tuple=True)
    return CSR.from_edges(line, column, (len(clicks), clicks.shape[1]), clicks[line, column])


def ridge_map(x: Tensor, ridge: float) -> Tensor:
    """(XᵀX + λI)^-1 Xᵀ, [D, n] of rows [n, D]; ``ridge`` is λ in units of the mean of ‖x‖²."""
    gram = x.T @ x
    gram.diagonal().add_(ridge * x.square().sum(1).mean().clamp_min(1e-6) if len(x) else 1.0)
    return torch.linalg.solve(gram, x.T)


def interaction_matrix(graph: MultimodalGraph) -> CSR:
    """X, the graph's interactions as a CSR [U, V] of ones; repeated pairs count once."""
    user, video = graph.interactions()
    key = torch.unique(user * graph.num_videos + video)
    shape = (graph.num_users, graph.num_videos)
    return CSR.from_edges(key // max(shape[1], 1), key % max(shape[1], 1), shape)


def scipy_matrix(matrix: CSR) -> scipy.sparse.csr_matrix:
    """The same matrix for scipy, whose sparse times sparse costs Σ_u |u|² rather than U · V²; float32 on the CPU."""
    import scipy.sparse as sp

    values = matrix.weights()
    ones = torch.ones(matrix.num_edges) if values is None else values.float().cpu()
    arrays = (ones.numpy(), matrix.indices.cpu().numpy(), matrix.indptr.cpu().numpy())
    return sp.csr_matrix(arrays, shape=matrix.shape)
