"""Filters on the graph of videos that the same people watched: its operator, its leading eigenvectors, polynomials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgraph.nn.eigen import leading_eigenvectors
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class ItemGram(nn.Module):
    """P = R̃ᵀR̃, R̃ = D_U^-a X D_I^-b: the normalised graph of co-watched videos, applied without being formed.

    A product costs 2 E a column, where P itself would hold Σ_u |u|² entries. For a + b = 1 P's eigenvalues lie in
    [0, 1], and low frequencies of the graph (1 − eigenvalue near 0) are tastes that many share.

    Args:
        graph: gives U, V and the number of interactions; :meth:`solve` reads them.
        user_power: a.
        video_power: b.
        rank: eigenvectors to keep; 0 for none.
    """

    indptr: Tensor
    indices: Tensor
    basis: Tensor
    user_scale: Tensor
    video_scale: Tensor

    def __init__(
        self, graph: MultimodalGraph, *, user_power: float = 0.5, video_power: float = 0.5, rank: int = 0
    ) -> None:
        super().__init__()
        self.user_power, self.video_power = user_power, video_power
        self.shape = (graph.num_users, graph.num_videos)
        edges = int(torch.unique(_keys(graph)).numel())
        self.register_buffer("indptr", torch.zeros(graph.num_users + 1, dtype=torch.int64))
        self.register_buffer("indices", torch.zeros(edges, dtype=torch.int32))
        self.register_buffer("user_scale", torch.zeros(graph.num_users))
        self.register_buffer("video_scale", torch.zeros(graph.num_videos))
        self.register_buffer("basis", torch.zeros(graph.num_videos, min(rank, *self.shape)))

    def solve(self, graph: MultimodalGraph) -> None:
        """Takes the interactions, and the eigenvectors by :func:`~mmgraph.nn.eigen.leading_eigenvectors`.

        Raises:
            ValueError: a graph of another number of interactions than the one it was made for.
        """
        key = torch.unique(_keys(graph))
        if len(key) != len(self.indices):
            raise ValueError(f"made for {len(self.indices)} interactions, but this graph has {len(key)}")
        x = CSR.from_edges(key // self.shape[1], key % self.shape[1], self.shape)
        self.indptr.copy_(x.indptr)
        self.indices.copy_(x.indices)
        self.user_scale.copy_(x.degree().float().clamp_min(1).pow(-self.user_power))
        self.video_scale.copy_(x.transpose().degree().float().clamp_min(1).pow(-self.video_power))
        rank = self.basis.shape[1]
        if rank:
            width = min(rank + max(32, rank // 4), *self.shape)
            generator = torch.Generator().manual_seed(0)  # the same for every run
            start = torch.randn(self.shape[1], width, generator=generator).to(self.basis)
            self.basis.copy_(leading_eigenvectors(Gram(self.matrix()), start, rank))

    def matrix(self) -> CSR:
        """R̃, CSR [U, V]."""
        values = (self.user_scale.repeat_interleave(self.indptr.diff())) * self.video_scale[self.indices.long()]
        return CSR(self.indptr, self.indices, values, self.shape)

    def forward(self, signal: Tensor) -> Tensor:
        """P s of signals [V, B]."""
        return Gram(self.matrix())(signal)

    def low_pass(self, signal: Tensor) -> Tensor:
        """V Vᵀ s, the projection of signals [V, B] on the kept eigenvectors."""
        return self.basis @ (self.basis.T @ signal)


class Gram:
    """P with its R̃ at hand, for several products in a row."""

    def __init__(self, matrix: CSR) -> None:
        self.matrix, self.transposed = matrix, matrix.transpose()

    def __call__(self, signal: Tensor) -> Tensor:
        """R̃ᵀ(R̃ s), [V, B]."""
        return spmm(self.transposed, spmm(self.matrix, signal.contiguous()))

    def polynomial(self, coefficients: Sequence[float], signal: Tensor) -> Tensor:
        """Σ_k c_k P^k s, [V, B], by Horner's rule: as many products as the degree."""
        out = coefficients[-1] * signal
        for c in reversed(coefficients[:-1]):
            out = self(out) + c * signal
        return out

    def chebyshev(self, coefficients: Sequence[float], signal: Tensor) -> Tensor:
        """Σ_k c_k T_k(I − 2P) s, [V, B], T the Chebyshev polynomials on the scaled Laplacian 2(I − P) − I."""
        before, now = signal, signal - 2 * self(signal)
        out = coefficients[0] * before
        for c in coefficients[1:]:
            out = out + c * now
            before, now = now, 2 * (now - 2 * self(now)) - before
        return out


def _keys(graph: MultimodalGraph) -> Tensor:
    user, video = graph.interactions()
    return user * graph.num_videos + video
