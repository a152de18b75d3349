"""The graphs that epochs are timed on: real interactions, with the data's own features or with wide random ones."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mmgraph.data import Split, published_split
from mmgraph.data.readers import read_mmrec
from mmgraph.graph import build_graph
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.recipes.gowalla import gowalla
from mmgraph.recipes.source import data_root
from mmgraph.recipes.tiktok import tiktok


def baby() -> Split:
    """Amazon Baby: 19,445 users, 7,050 goods, 160,792 interactions, no features."""
    return published_split(read_mmrec(data_root() / "baby"), column="x_label", name="baby-hkuds")


def sports() -> Split:
    """Amazon Sports: 35,598 users, 18,357 goods, 296,337 interactions, no features."""
    return published_split(read_mmrec(data_root() / "sports"), column="x_label", name="sports-mmhcl")


SPLITS: dict[str, Callable[[], Split]] = {"baby": baby, "gowalla": gowalla, "sports": sports, "tiktok": tiktok}
TEXT_WIDTH = 384


def load(name: str) -> MultimodalGraph:
    """A graph by name. ``baby-4096`` is Baby with random features: 4096 columns of pictures and 384 of text, the
    widths that the field uses for the Amazon sets.

    Args:
        name: of ``SPLITS``, with or without a width behind a hyphen.

    Raises:
        KeyError: no such data.
    """
    base, _, width = name.partition("-")
    if base not in SPLITS or not (width == "" or width.isdigit()):
        raise KeyError(f"no data {name!r}: {', '.join(SPLITS)}, with a width of features behind a hyphen if wanted")
    graph = build_graph(SPLITS[base](), modalities=[] if width else None)
    generator, rows = torch.Generator().manual_seed(0), torch.arange(graph.num_videos)
    for modality, columns in {"visual": int(width), "text": TEXT_WIDTH}.items() if width else ():
        graph[modality].x = torch.randn(graph.num_videos, columns, generator=generator)
        graph["video", "has", modality].edge_index = torch.stack([rows, rows])
    return graph
