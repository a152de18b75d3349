"""What models that read features beside who watched what share: which they read, and tables of users and videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypedDict, Unpack

import torch
from torch import Tensor, nn

from mmgraph.models.base import ALL, Recommender, Rows, chosen_modalities
from mmgraph.nn.heads import Head
from mmgraph.nn.tables import xavier_table
from mmgraph.objectives import Objective
from mmgraph.ops import propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import EdgeType, MultimodalGraph


class Common(TypedDict, total=False):
    """The arguments of :class:`Multimodal`, which its models take too and hand on."""

    embedding_dim: int
    modalities: Sequence[str] | None
    head: Head | None
    objective: Objective | None


class Multimodal(Recommender):
    """A recommender that reads modalities.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        modalities: which to use; all of the graph's by default.
        head, objective: ones other than the dot product and BPR.

    Raises:
        ValueError: no modality to work with.
    """

    project: nn.ModuleDict  # of a model that projects its features: modality -> a map into D columns

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        modalities: Sequence[str] | None = None,
        head: Head | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(head, objective)
        self.modalities, self.dim = chosen_modalities(graph, modalities), embedding_dim

    def projected(self, graph: MultimodalGraph, modality: str) -> Tensor:
        """P_m f_m, [V, D]; 0 where a video lacks m."""
        feature = graph.features(modality)
        return self.project[modality](feature.values) * feature.present.unsqueeze(1)


class WithIds(Multimodal):
    """The same with a table of users and one of videos, for LightGCN to propagate.

    Args:
        graph, more: as :class:`Multimodal`.
        num_layers: of LightGCN.
    """

    def __init__(self, graph: MultimodalGraph, *, num_layers: int = 2, **more: Unpack[Common]) -> None:
        super().__init__(graph, **more)
        self.num_layers = num_layers
        self.user = xavier_table(graph.num_users, self.dim)
        self.video = xavier_table(graph.num_videos, self.dim)

    def propagated(
        self, graph: MultimodalGraph, rows: Rows = ALL, edge_types: Sequence[EdgeType | str] = ("interacts",)
    ) -> Tensor:
        """LightGCN of the tables: mean of layers 0 … L, users first and videos after them, at the rows."""
        every = torch.cat([self.user, self.video])
        return propagate(graph.adjacency(edge_types), every, self.num_layers, rows=rows.stacked(graph))


def user_tables(graph: MultimodalGraph, names: Iterable[str], dim: int) -> nn.ParameterDict:
    """What a user prefers in each of the names (modalities, say): tables [U, dim]."""
    return nn.ParameterDict({name: xavier_table(graph.num_users, dim, normal=True) for name in names})
