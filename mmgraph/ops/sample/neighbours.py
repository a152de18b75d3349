"""Sampled neighbourhoods over a CSR: fan-outs and k hops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR, sound
from mmgraph.ops.sample.chance import check_generator, uniform

__all__ = ["Block", "k_hop", "sample_neighbours"]


class Block(NamedTuple):
    """One hop: ``graph`` maps the features of ``source`` to those of ``target``."""

    graph: CSR
    """[len(target), len(source)], weights of the sampled edges."""
    source: Tensor
    """[S] nodes read; the first ones are ``target``, in order."""
    target: Tensor
    """[T] nodes computed."""
    edges: Tensor
    """[E'] position of each edge in the whole graph."""


def sample_neighbours(a: CSR, rows: Tensor, fanout: int, generator: torch.Generator) -> tuple[CSR, Tensor]:
    """At most ``fanout`` edges of each row, uniformly and without replacement.

    Args:
        a: [R, C].
        rows: [B] rows.
        fanout: edges kept a row; -1 keeps all.
        generator: the source of chance.

    Returns:
        The matrix [B, C] of the edges kept and their positions in ``a``. Weights are not rescaled.
    """
    checks.matrix(a, "a")
    fanout = checks.count(fanout, "fanout", -1)
    check_generator(generator)
    part, edges = a.select(rows)
    if fanout < 0:
        return part, edges
    row = part.row_indices().long()
    chance = uniform((edges.numel(),), generator, a.device)
    order = torch.argsort(row + chance)  # by row, then by chance
    rank = torch.arange(edges.numel(), device=a.device) - part.indptr[row]
    kept = torch.sort(order[rank < fanout]).values
    count = part.degree().clamp(max=fanout)
    indptr = torch.zeros(count.numel() + 1, dtype=torch.int64, device=a.device)
    torch.cumsum(count, 0, out=indptr[1:])
    out = CSR(
        indptr,
        part.indices[kept],
        None if part.values is None else part.values[kept],
        part.shape,
        row_scale=part.row_scale,
        col_scale=part.col_scale,
        _pattern=sound(),
    )
    return out, edges[kept]


def k_hop(a: CSR, seeds: Tensor, fanouts: Sequence[int], generator: torch.Generator) -> list[Block]:
    """The sampled k-hop neighbourhood of ``seeds``, as blocks in the order of computation (farthest first).

    Feed the features of ``blocks[0].source`` to the first layer; the last block's target is ``seeds``.

    Args:
        a: [N, N].
        seeds: [B] distinct nodes.
        fanouts: edges a node, for each hop from the seeds outwards; -1 keeps all (exact receptive field).
        generator: the source of chance.
    """
    checks.matrix(a, "a")
    if not isinstance(fanouts, Sequence) or isinstance(fanouts, str):
        raise TypeError(f"fanouts must be a sequence of whole numbers, got {fanouts!r}")
    fanouts = [checks.count(fanout, "fanouts", -1) for fanout in fanouts]
    if a.shape[0] != a.shape[1]:
        raise ValueError(f"k_hop needs a square matrix, got {list(a.shape)}")
    seeds = checks.rows(seeds, a.shape[0], "seeds", like=a)
    if seeds.unique().numel() != seeds.numel():
        raise ValueError("seeds must be distinct")
    blocks = []
    local = torch.full((a.shape[0],), -1, dtype=torch.int64, device=a.device)
    for fanout in fanouts:
        part, edges = sample_neighbours(a, seeds, fanout, generator)
        local[seeds] = torch.arange(seeds.numel(), device=a.device)
        reached = part.indices.long().unique()
        fresh = reached[local[reached] < 0]
        source = torch.cat([seeds, fresh])
        local[fresh] = torch.arange(seeds.numel(), source.numel(), device=a.device)
        row, col = part.row_indices().long(), local[part.indices.long()]
        weights = part.weights()
        order = torch.argsort(row * source.numel() + col, stable=True)
        graph = CSR(
            part.indptr,
            col[order].to(torch.int32),
            None if weights is None else weights[order],
            (seeds.numel(), source.numel()),
            _pattern=sound(),
        )
        blocks.append(Block(graph, source, seeds, edges[order]))
        seeds = source
    return blocks[::-1]
