"""Baselines in closed form: Popularity, ItemKNN, EASE."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.features.standardise import Standardiser
from mmgraph.models.base import Embeddings, Recommender, Rows
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Popularity(Recommender):
    """Every user gets the most interacted videos: ŷ_uv = number of interactions of v in the graph.

    Args:
        graph: read by :meth:`solve`.
    """

    closed_form = True
    count: Tensor

    def __init__(self, graph: MultimodalGraph) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(graph.num_videos))

    def solve(self, graph: MultimodalGraph) -> None:
        """Counts."""
        self.count = torch.bincount(graph.interactions()[1], minlength=graph.num_videos).float()

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """user [U, 1] of ones, video [V, 1] of counts."""
        user = self.count.new_ones(graph.num_users if rows is None else len(rows.user), 1)
        count = self.count if rows is None else self.count[rows.video]
        return Embeddings(user, count.unsqueeze(1))


class LinearItemModel(Recommender):
    """Scores X W: a user's row of interactions times a video-to-video matrix. Base of ItemKNN and EASE.

    ``encode`` gives user = the sparse CSR matrix X [U, V] and video = Wᵀ [V, V], so that memory is V², not U·V.
    """

    closed_form = True
    weight: Tensor

    def __init__(self, graph: MultimodalGraph) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(graph.num_videos, graph.num_videos))

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """user: X, CSR [U, V] or its rows, dense [B_u, V]; video: Wᵀ [V, V] or [B_v, V]."""
        x = interaction_matrix(graph)
        if rows is None:
            return Embeddings(x, self.weight.T)
        return Embeddings(_rows(x, rows.user).dense(), self.weight.T[rows.video])

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """X[users] W, [B, V], or its columns ``videos`` [B, N]; reads the rows of W that the users interacted with."""
        if emb.user.layout == torch.sparse_csr:
            scores = spmm(_rows(emb.user, users), emb.video.T)
        else:
            scores = emb.user[users] @ emb.video.T
        return scores if videos is None else scores.gather(1, videos)


class ItemKNN(LinearItemModel):
    """Item-based nearest neighbours: ŷ_uv = Σ_{j∈u} s_vj over the ``k`` videos j most similar to v.

    Sarwar et al., WWW 2001, https://doi.org/10.1145/371920.372071; cosine with shrinkage,
    s_ij = |U_i ∩ U_j| / (sqrt(|U_i||U_j|) + h), and asymmetric weighting α as in Aiolli, RecSys 2013
    (|U_i|^α |U_j|^(1−α) in place of the square root; α = ½ is the cosine).

    Args:
        graph: gives V.
        k: neighbours kept for each video.
        shrink: h ≥ 0.
        alpha: as above.
    """

    def __init__(self, graph: MultimodalGraph, *, k: int = 100, shrink: float = 0.0, alpha: float = 0.5) -> None:
        super().__init__(graph)
        self.k, self.shrink, self.alpha = k, shrink, alpha

    def solve(self, graph: MultimodalGraph) -> None:
        """Co-counts, similarities, the k best of each column. Memory: two dense [V, V] float32."""
        gram = _gram(interaction_matrix(graph))
        degree = gram.diagonal().clone()
        gram.fill_diagonal_(0)
        for start in range(0, len(gram), 1024):
            at = slice(start, start + 1024)
            scale = degree[at, None].pow(self.alpha) * degree[None].pow(1 - self.alpha) + self.shrink
            gram[at] /= scale.clamp_min(1e-12)
            if self.k < len(gram):
                best = gram[at].topk(self.k, dim=1)
                gram[at] = torch.zeros_like(gram[at]).scatter_(1, best.indices, best.values)
        self.weight = gram.T.contiguous()


class EASE(LinearItemModel):
    """EASE: the linear item model with zero diagonal, in closed form; with features, their rows are appended to X.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, https://arxiv.org/abs/1905.03375.
    P = (XᵀX + λI)^-1, B = I − P·diag(1/diag P). With ``features`` X is stacked with w·Fᵀ, a row a column (add-EASE,
    Jeunen et al., RecSys 2020, https://doi.org/10.1145/3383313.3418480): XᵀX becomes XᵀX + w² F Fᵀ. F: each
    modality standardised by column over present rows, side by side, rows scaled to unit norm; absent rows are 0.

    Args:
        graph: gives V, and the features in :meth:`solve`.
        reg: λ > 0.
        features: modalities to append.
        feature_weight: w; the feature rows count w times a user's row.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        reg: float = 100.0,
        features: Sequence[str] = (),
        feature_weight: float = 1.0,
    ) -> None:
        super().__init__(graph)
        self.reg, self.modalities, self.feature_weight = reg, list(features), feature_weight

    def solve(self, graph: MultimodalGraph) -> None:
        """One inverse of [V, V]. Memory: two dense [V, V] float32.

        Raises:
            KeyError: a modality the graph does not have.
        """
        gram = _gram(interaction_matrix(graph))
        if self.modalities:
            f = feature_rows({m: graph.features(m) for m in self.modalities}) * self.feature_weight
            gram += f @ f.T
        gram.diagonal().add_(self.reg)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weight = inverse / -inverse.diagonal()
        weight.fill_diagonal_(0)
        self.weight = weight


def feature_rows(features: Mapping) -> Tensor:
    """Modalities side by side, columns standardised over present rows, rows of unit norm, absent rows 0: [V, ΣD]."""
    parts = []
    for feature in features.values():
        standard = Standardiser.fit(feature.values, feature.present)
        parts.append(standard(feature.values, feature.present))
    return torch.nn.functional.normalize(torch.cat(parts, 1), dim=1)


def interaction_matrix(graph: MultimodalGraph) -> Tensor:
    """X, the graph's interactions as a torch sparse CSR matrix [U, V] of ones; repeated pairs count once."""
    user, video = graph.interactions()
    shape = (graph.num_users, graph.num_videos)
    key = torch.unique(user * shape[1] + video)
    counts = torch.bincount(key // shape[1], minlength=shape[0])
    indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    ones = torch.ones(len(key), device=key.device)
    with warnings.catch_warnings():  # torch calls its CSR layout beta, once a process
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(indptr, key % shape[1], ones, shape, check_invariants=False)


def _gram(x: Tensor) -> Tensor:
    """XᵀX, dense [V, V], through scipy: sparse times sparse costs Σ_u |u|² rather than U·V²."""
    import scipy.sparse as sp

    arrays = (x.values().cpu().numpy(), x.col_indices().cpu().numpy(), x.crow_indices().cpu().numpy())
    matrix = sp.csr_matrix(arrays, shape=tuple(x.shape))
    return torch.from_numpy((matrix.T @ matrix).toarray()).to(x.device)


def _rows(x: Tensor, rows: Tensor) -> CSR:
    """Rows of a torch sparse CSR matrix, with the narrow indices that the kernels read."""
    matrix = CSR(x.crow_indices(), x.col_indices(), x.values(), (x.shape[0], x.shape[1]))
    part, _ = matrix.select(rows)
    return replace(part, indices=part.indices.int())
