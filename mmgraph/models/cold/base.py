"""What models that rank a video nobody has seen share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from mmgraph.models.base import Recommender
from mmgraph.nn.content import ContentInput

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class ContentModel(Recommender):
    """Base of the models that make a video's row out of its content alone.

    A video without an edge in the graph (cold) gets the row that :meth:`embed` gives; the others may have more. So
    ``graph.with_videos`` followed by ``encode`` ranks new videos, and ``ColdStart`` does it without a graph.
    """

    embeds_content = True
    content: ContentInput


def rarity(graph: MultimodalGraph, power: float) -> Tensor:
    """d_v^−power of each video, [V, 1]; 1 for a video without an edge."""
    return graph.seen.transpose().degree().float().clamp_min(1).pow(-power).unsqueeze(1)


def small_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """A linear layer that starts small: content begins no larger than what is learned beside it."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.normal_(layer.weight, std=0.3 / in_dim**0.5)
    nn.init.zeros_(layer.bias)
    return layer
