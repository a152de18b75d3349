"""EASE: the linear item model with a zero diagonal, in closed form, with or without features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.features.standardise import Standardiser
from mmgraph.models.base import Embeddings
from mmgraph.models.closed.linear import LinearItemModel, interaction_matrix
from mmgraph.ops import CSR, dense_gram, spmm
from mmgraph.ops.memory import Need, dense_bytes

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

BLOCK = 1024  # rows of the [V, V] matrix worked on at once


class EASE(LinearItemModel):
    """EASE: the linear item model with zero diagonal, in closed form; with features, their rows are appended to X.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, https://arxiv.org/abs/1905.03375.
    P = (XᵀX + λI)^-1, B = I − P·diag(1/diag P). With ``features`` X is stacked with w·Fᵀ, a row a column (collective
    EASE, Jeunen et al., RecSys 2020, https://doi.org/10.1145/3383313.3418480): XᵀX becomes XᵀX + w² F Fᵀ. F: each
    modality standardised by column over present rows, side by side, rows scaled to unit norm; absent rows are 0.

    Memory: one dense [V, V] float32, the weights themselves, and a block of the sparse XᵀX while it is formed.

    Args:
        graph: gives V, and the features in :meth:`solve`.
        reg: λ > 0.
        features: modalities to append.
        feature_weight: w; the feature rows count w times a user's row.

    Raises:
        NotEnoughMemory: (a ValueError) there is no room for it.
    """

    weight: Tensor

    def __init__(
        self, graph: MultimodalGraph, *, reg: float = 100.0, features: Sequence[str] = (), feature_weight: float = 1.0
    ) -> None:
        super().__init__(graph)
        self.reg, self.modalities, self.feature_weight = reg, list(features), feature_weight
        needed = dense_bytes(graph.num_videos) + 8 * BLOCK * graph.num_videos
        Need("EASE", needed, "take fewer videos (a k-core), or ItemKNN, which stays sparse").check()
        self.register_buffer("weight", torch.zeros(graph.num_videos, graph.num_videos))

    def solve(self, graph: MultimodalGraph) -> None:
        """One inverse of [V, V], in place.

        Raises:
            KeyError: a modality the graph does not have.
            ValueError: λ so small that XᵀX + λI cannot be inverted.
        """
        gram = dense_gram(interaction_matrix(graph), self.weight)
        if self.modalities:
            features = feature_rows({m: graph.features(m) for m in self.modalities}) * self.feature_weight
            for start in range(0, len(gram), BLOCK):
                at = slice(start, start + BLOCK)
                gram[at] += features[at] @ features.T
        item_weights_(gram, self.reg)
        self.solved.fill_(True)

    def videos(self) -> Tensor:
        """Wᵀ [V, V]."""
        return self.weight.T

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """X[users] W, [B, V], or its columns ``videos`` [B, N]; reads the rows of W that the users interacted with."""
        if isinstance(emb.user, CSR):
            scores = spmm(emb.user.select(users)[0], emb.video.T)  # pyright: ignore
        else:
            scores = emb.user[users] @ emb.video.T
        return scores if videos is None else scores.gather(1, videos)


def item_weights_(gram: Tensor, reg: float) -> Tensor:
    """EASE's B of XᵀX [V, V], in its own memory: −P/diag P, P = (XᵀX + λI)^-1, and a diagonal of zeros.

    Raises:
        ValueError: λ so small that XᵀX + λI cannot be inverted.
    """
    gram.diagonal().add_(reg)
    invert_(gram)
    gram.div_(-gram.diagonal().clone())
    return gram.fill_diagonal_(0)


def invert_(matrix: Tensor) -> Tensor:
    """Inverts a symmetric positive definite float32 matrix [V, V] by Cholesky, in its own memory on a CPU.

    Raises:
        ValueError: it is not positive definite.
    """
    if matrix.device.type != "cpu":
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not int(failed):
            return matrix.copy_(torch.cholesky_inverse(factor))
    else:
        from scipy.linalg import lapack

        # a symmetric matrix is its own transpose, and its transpose is in LAPACK's order: no copy
        factor, failed = lapack.spotrf(matrix.numpy().T, lower=1, overwrite_a=1, clean=0)  # pyright: ignore
        if not failed:
            _, failed = lapack.spotri(factor, lower=1, overwrite_c=1)  # pyright: ignore
            if not failed:
                # the lower triangle in LAPACK's order is the upper one here
                for start in range(0, len(matrix), BLOCK):
                    at = slice(start, start + BLOCK)
                    below = matrix[at, start:].T  # columns of this block, from its diagonal down
                    own = matrix[at, at].triu()
                    matrix[at, at] = own + own.triu(1).T
                    matrix[start + BLOCK :, at] = below[BLOCK:]
                return matrix
    raise ValueError("XᵀX + λI is not positive definite in float32: take a larger reg")


def feature_rows(features: Mapping) -> Tensor:
    """Modalities side by side, columns standardised over present rows, rows of unit norm, absent rows 0: [V, ΣD]."""
    parts = []
    for feature in features.values():
        standard = Standardiser.fit(feature.values, feature.present)
        parts.append(standard(feature.values, feature.present))
    return torch.nn.functional.normalize(torch.cat(parts, 1), dim=1)
