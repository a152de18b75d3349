"""What models that rank a video nobody has seen share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import Recommender, Rows
from mmgraph.nn.content import ContentInput
from mmgraph.nn.tables import normal_table
from mmgraph.objectives import Objective

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Content(TypedDict, total=False):
    """The arguments of :class:`ContentModel`, which its models take too and hand on."""

    modalities: Sequence[str] | None
    weights: Mapping[str, float] | None
    whiten: Sequence[str]


class Tables(TypedDict, total=False):
    """The same of :class:`ContentTables`."""

    embedding_dim: int
    l2: float
    modalities: Sequence[str] | None


class ContentModel(Recommender):
    """Base of the models that make a video's row out of its content alone.

    A video without an edge in the graph (cold) gets the row that :meth:`embed` gives; the others may have more. So
    ``graph.with_videos`` followed by ``encode`` ranks new videos, and ``ColdStart`` does it without a graph.

    Args:
        graph: gives the features' widths, statistics and principal axes.
        objective: one other than BPR.
        modalities: which to read; all by default.
        weights: modality -> factor on its input; 1 where left out.
        whiten: modalities to whiten (:class:`mmgraph.nn.ContentInput`).
    """

    embeds_content = True

    def __init__(
        self,
        graph: MultimodalGraph,
        objective: Objective | None = None,
        *,
        modalities: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        whiten: Sequence[str] = (),
    ) -> None:
        super().__init__(objective=objective)
        self.content = ContentInput(graph, modalities, weights, whiten)


class ContentTables(ContentModel):
    """The same beside a table of users and one of videos.

    Args:
        graph, objective, modalities: as :class:`ContentModel`.
        embedding_dim: D.
        l2: weight of ½‖the batch's rows of the tables‖² / B.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        objective: Objective | None = None,
        *,
        embedding_dim: int = 64,
        l2: float = 1e-4,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__(graph, objective, modalities=modalities)
        self.dim, self.l2 = embedding_dim, l2
        self.user = normal_table(graph.num_users, embedding_dim)
        self.video = normal_table(graph.num_videos, embedding_dim)

    def penalty(self, batch: PairBatch, rows: Rows) -> Tensor:
        """The L2 term of a batch and its rows."""
        return self.l2 * embedding_l2(len(batch.user), *rows.of(self.user, self.video))


def rarity(graph: MultimodalGraph, power: float) -> Tensor:
    """d_v^−power of each video, [V, 1]; 1 for a video without an edge."""
    return graph.seen.transpose().degree().float().clamp_min(1).pow(-power).unsqueeze(1)


def small_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """A linear layer that starts small: content begins no larger than what is learned beside it."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.normal_(layer.weight, std=0.3 / in_dim**0.5)
    nn.init.zeros_(layer.bias)
    return layer
