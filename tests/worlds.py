"""Tiny graphs with known answers, shared by the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.graph.multimodal import MultimodalGraph

WIDTHS = {"visual": 5, "audio": 3}


def make_graph(
    user: Tensor, video: Tensor, users: int, videos: int, present: dict[str, Tensor], seed: int = 0
) -> MultimodalGraph:
    """A graph with the given interactions and random features where ``present``."""
    generator = torch.Generator().manual_seed(seed)
    graph = MultimodalGraph()
    graph["user"].num_nodes, graph["video"].num_nodes = users, videos
    graph["user", "interacts", "video"].edge_index = torch.stack([user, video])
    graph["video", "rev_interacts", "user"].edge_index = torch.stack([video, user])
    for name, here in present.items():
        rows = here.nonzero().flatten()
        graph[name].x = torch.randn(len(rows), WIDTHS[name], generator=generator)
        edges = torch.stack([rows, torch.arange(len(rows))])
        graph["video", "has", name].edge_index = edges
        graph[name, "rev_has", "video"].edge_index = edges.flip(0)
    return graph


def twelve_nodes() -> MultimodalGraph:
    """5 users and 7 videos: user 4 is isolated, video 6 unseen; video 2 has no picture, video 5 no sound."""
    user = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    video = torch.tensor([0, 1, 2, 1, 3, 2, 4, 0, 4, 5])
    visual, audio = torch.ones(7, dtype=torch.bool), torch.ones(7, dtype=torch.bool)
    visual[2], audio[5] = False, False
    return make_graph(user, video, 5, 7, {"visual": visual, "audio": audio})


def checkerboard(size: int = 24) -> MultimodalGraph:
    """Even users like even videos, odd users odd ones, all but the diagonal (u, u); features tell even from odd."""
    grid = torch.arange(size)
    user, video = torch.meshgrid(grid, grid, indexing="ij")
    keep = ((user + video) % 2 == 0) & (user != video)
    everything = torch.ones(size, dtype=torch.bool)
    graph = make_graph(user[keep], video[keep], size, size, {"visual": everything, "audio": everything})
    for name in WIDTHS:
        graph[name].x = 0.3 * graph[name].x + (grid % 2).unsqueeze(1).float()
    # each user's events a day apart in an order at random: order, which sequential models read, says nothing here
    chance = torch.rand(size, size // 2 - 1, generator=torch.Generator().manual_seed(0))
    graph["user", "interacts", "video"].time = 86_400 * chance.argsort(1).flatten().double()
    return graph
