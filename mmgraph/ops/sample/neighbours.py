"""Sampled neighbourhoods over a CSR: fan-outs, k hops, random walks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR, sound
from mmgraph.ops.knn import Neighbours
from mmgraph.ops.sample.chance import uniform

__all__ = ["Block", "k_hop", "random_walk_neighbours", "sample_neighbours", "walk"]


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
    fanout = checks.count(fanout, "fanout", -1)
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


def walk(a: CSR, start: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Uniform random walks, [B, length + 1] int64 nodes, the start first. A node without edges stays where
    it is.

    Args:
        a: [N, N]; weights are not read.
        start: [B] nodes.
        length: steps.
        generator: the source of chance.
    """
    if a.shape[0] != a.shape[1]:
        raise ValueError(f"a walk needs a square matrix, got {list(a.shape)}")
    length = checks.count(length, "length", 0)
    node = checks.rows(start, a.shape[0], "start", like=a)
    path = [node]
    degree = a.degree()
    for _ in range(length):
        chance = uniform((node.numel(),), generator, a.device)
        count = degree[node]
        step = torch.minimum((chance * count).long(), (count - 1).clamp(min=0))
        stuck = count == 0
        place = torch.where(stuck, 0, a.indptr[node] + step)
        reached = a.indices[place].long() if a.num_edges else node
        node = torch.where(stuck, node, reached)
        path.append(node)
    return torch.stack(path, 1)


def random_walk_neighbours(
    a: CSR,
    seeds: Tensor,
    k: int,
    *,
    num_walks: int = 50,
    length: int = 2,
    stride: int = 2,
    generator: torch.Generator,
) -> Neighbours:
    """The k nodes that short random walks from each seed visit most, and their share of the visits.

    PinSage's importance neighbours (Ying et al., KDD 2018, https://arxiv.org/abs/1806.01973). On a graph
    of users and videos every second step lands on the seed's own side: ``stride=2`` counts only these.

    Args:
        a: [N, N].
        seeds: [B] nodes.
        k: neighbours a seed.
        num_walks: walks a seed.
        length: counted visits of a walk; it takes ``length * stride`` steps.
        stride: steps between counted visits.
        generator: the source of chance.

    Returns:
        Nodes and shares [B, k], most visited first, ties to the lower node; the seed itself is left out.
        -1 and
        -inf where fewer were reached; shares are over all counted visits other than to the seed.
    """
    seeds = checks.rows(seeds, a.shape[0], "seeds", like=a)
    k, num_walks = checks.count(k, "k", high=a.shape[0]), checks.count(num_walks, "num_walks")
    length, stride = checks.count(length, "length"), checks.count(stride, "stride")
    batch = seeds.numel()
    path = walk(a, seeds.repeat_interleave(num_walks), length * stride, generator)[:, stride::stride]
    visited = path.reshape(batch, -1)
    owner = torch.arange(batch, device=a.device).unsqueeze(1).expand_as(visited)
    kept = visited != seeds.unsqueeze(1)
    key, count = torch.unique(owner[kept] * a.shape[0] + visited[kept], return_counts=True)
    owner, node = key // max(a.shape[0], 1), key % max(a.shape[0], 1)
    order = torch.argsort(count, descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    owner, node, count = owner[order], node[order], count[order]
    start = torch.searchsorted(owner, torch.arange(batch, device=a.device))
    rank = torch.arange(owner.numel(), device=a.device) - start[owner]
    total = kept.sum(1)
    near = rank < k
    index = torch.full((batch, k), -1, dtype=torch.int64, device=a.device)
    score = torch.full((batch, k), -torch.inf, device=a.device)
    index[owner[near], rank[near]] = node[near]
    score[owner[near], rank[near]] = (count[near] / total[owner[near]]).float()
    return Neighbours(index, score)
