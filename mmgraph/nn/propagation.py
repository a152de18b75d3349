"""Propagation with something done to every layer; where nothing is, ``ops.propagate`` is one fused pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.ops import CSR, propagate, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

Refine = Callable[[Tensor, Tensor], Tensor]


def layers(
    adjacency: CSR, x: Tensor, num_layers: int, refine: Refine | None = None, rows: Tensor | None = None
) -> list[Tensor]:
    """x⁰ … x^L, x^{l+1} = refine(A x^l, x⁰), each at ``rows``; the last layer is computed at those rows only.

    Args:
        adjacency: A, CSR [N, N].
        x: x⁰, [N, D].
        num_layers: L.
        refine: (A x^l, x⁰) -> x^{l+1}, row by row; the product alone when None.
        rows: [B]; all when None.
    """
    states, out = x, [x if rows is None else F.embedding(rows, x)]
    for layer in range(num_layers):
        last = layer == num_layers - 1
        message = spmm(adjacency, states, rows=rows if last else None)
        ego = out[0] if last else x
        states = message if refine is None else refine(message, ego)
        out.append(states if rows is None or last else F.embedding(rows, states))
    return out


def layer_sum(adjacency: CSR, x: Tensor, num_layers: int) -> Tensor:
    """x + A x + … + A^L x, [N, D]."""
    return propagate(adjacency, x, num_layers, weights=[1.0] * (num_layers + 1))


def last_layer(adjacency: CSR, x: Tensor, num_layers: int, rows: Tensor | None = None) -> Tensor:
    """A^L x, [N, D], or ``rows`` of it."""
    return propagate(adjacency, x, num_layers, weights=[0.0] * num_layers + [1.0], rows=rows)


def clicks_among_nodes(graph: MultimodalGraph, loops: bool = False) -> CSR:
    """D^-1/2 A D^-1/2 of who watched what, CSR [U + V, U + V]; with ``loops`` of A + I, every click once."""
    if not loops:
        return graph.adjacency("interacts")
    return with_loops(graph.adjacency("interacts", norm=None, weighted=False)).normalized("sym")


def half_normalised(matrix: CSR) -> CSR:
    """D_r^-1/2 A, D_r the entries of each row: a sum over neighbours, divided by the root of their number."""
    degree = matrix.degree().clamp_min(1).rsqrt()
    return matrix.with_values(degree[matrix.row_indices()], symmetric=False)


def with_loops(adjacency: CSR) -> CSR:
    """A + I, of a square symmetric matrix without weights."""
    own = torch.arange(adjacency.shape[0], device=adjacency.device)
    row, col = (torch.cat([old.long(), own]) for old in (adjacency.row_indices(), adjacency.indices))
    return CSR.from_edges(row, col, adjacency.shape, symmetric=True)


def one_sided_mean(
    up: CSR, down: CSR, user: Tensor, video: Tensor, num_layers: int, as_coded: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean of layers 0 … L, u^{l+1} = up v^l and v^{l+1} = down u^l: users [U, D] and videos [V, D].

    Args:
        up: what users gather, CSR [U, V], normalised on one side (:func:`half_normalised`).
        down: what videos gather, CSR [V, U].
        user, video: layer 0.
        num_layers: L.
        as_coded: v^{l+1} = down u^{l+1}, and a softmax over the width of the last layer, as in MMSSL's public code.
    """
    users, videos = [user], [video]
    for layer in range(num_layers):
        soft = as_coded and layer == num_layers - 1
        following = spmm(up, video)
        following = following.softmax(1) if soft else following
        video = spmm(down, following if as_coded else user)
        user, video = following, video.softmax(1) if soft else video
        users.append(user)
        videos.append(video)
    return torch.stack(users).mean(0), torch.stack(videos).mean(0)


def noisy(size: float) -> Refine:
    """Adds noise of length ``size`` to each row, in the orthant that the row lies in.

    x + ε · sign(x) ⊙ n/‖n‖, n ~ U(0, 1): Yu et al., "Are Graph Augmentations Necessary?", SIGIR 2022,
    https://arxiv.org/abs/2112.08679.
    """

    def refine(message: Tensor, ego: Tensor) -> Tensor:
        noise = F.normalize(torch.rand_like(message), dim=1)
        return message + size * message.sign() * noise

    return refine


def by_likeness(message: Tensor, ego: Tensor) -> Tensor:
    """cos(message, ego) · message, row by row: what LayerGCN calls layer refinement."""
    kind = torch.promote_types(message.dtype, ego.dtype)
    return _ByLikeness.apply(message.to(kind), ego.to(kind))  # type: ignore[return-value]


class _ByLikeness(torch.autograd.Function):
    """c m, c = m·e / (‖m‖ ‖e‖): in a third of the passes over both that torch's cosine and its gradient take.

    With s = g·m, g the gradient: m gets c g + s (ê / ‖m‖ − c m / ‖m‖²), e gets s (m̂ / ‖e‖ − c e / ‖e‖²).
    """

    @staticmethod
    def forward(ctx, message: Tensor, ego: Tensor) -> Tensor:
        shorter = [1 / x.norm(dim=1, keepdim=True).clamp_min(1e-12) for x in (message, ego)]
        cosine = (message * ego).sum(1, keepdim=True) * shorter[0] * shorter[1]
        ctx.save_for_backward(message, ego, cosine, *shorter)
        return cosine * message

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor]:
        message, ego, cosine, of_message, of_ego = ctx.saved_tensors
        share = (grads[0] * message).sum(1, keepdim=True)
        both = share * of_message * of_ego
        to_message = torch.addcmul(cosine * grads[0], both, ego).addcmul_(
            share * cosine * of_message**2, message, value=-1
        )
        to_ego = (both * message).addcmul_(share * cosine * of_ego**2, ego, value=-1)
        return to_message, to_ego
