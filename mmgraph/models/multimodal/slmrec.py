"""SLMRec: modalities as views of one preference, contrasted with each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import info_nce
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, WithIds
from mmgraph.nn.projection import projections
from mmgraph.objectives import Objective, SampledSoftmax
from mmgraph.ops import propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class SLMRec(WithIds):
    """SLMRec (FAC): LightGCN for the id and for each modality, joined; an in-batch softmax and a chain of contrasts.

    Tao et al., "Self-supervised Learning for Multimedia Recommendation", TMM 2022,
    https://doi.org/10.1109/TMM.2022.3187556. For the view c of {id, m}: x_c = LightGCN([E_u ; P_m f_m]), users share
    one table; user, video = W [x_c]_c. Loss: softmax of cosines over the batch's videos, and α Σ InfoNCE(g(x_id),
    g(x_m1)) + InfoNCE(g(x_m1), g(x_m2)) + …, a chain in the graph's order of modalities, over the videos that have
    both. The paper's dropout and masking tasks (FD, FM) are left out.

    The model is trained on cosines and ranks by dot products, as the public code does; it takes the chain's logits
    without normalising, cosines here.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        num_layers: of LightGCN.
        contrast: α.
        temperature: τ of both.
        modalities: which to use; all of the graph's by default.
        objective: one other than the in-batch softmax.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        contrast: float = 0.1,
        temperature: float = 0.2,
        modalities: Sequence[str] | None = None,
        objective: Objective | None = None,
    ) -> None:
        usual = SampledSoftmax(temperature=temperature, cosine=True)
        common = Common(embedding_dim=embedding_dim, modalities=modalities, objective=objective or usual)
        super().__init__(graph, num_layers=num_layers, **common)
        self.contrast, self.temperature = contrast, temperature
        self.project = projections(graph, self.modalities, embedding_dim)
        width = embedding_dim * (1 + len(self.modalities))
        self.join_user, self.join_video = nn.Linear(width, embedding_dim), nn.Linear(width, embedding_dim)
        self.guide = nn.ModuleDict({c: nn.Linear(embedding_dim, embedding_dim) for c in ("id", *self.modalities)})

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        return self._joined(list(self.views(graph, rows).values()))

    def _joined(self, views: list[Embeddings]) -> Embeddings:
        user, video = (torch.cat(parts, 1) for parts in zip(*views, strict=True))
        return Embeddings(self.join_user(user), self.join_video(video))

    def views(self, graph: MultimodalGraph, rows: Rows = ALL) -> dict[str, Embeddings]:
        """x_c of each view, users [n, D] and videos [n, D]."""
        tables = {"id": self.video, **{m: self.projected(graph, m) for m in self.modalities}}
        adjacency, at = graph.adjacency("interacts"), rows.stacked(graph)
        return {
            c: rows.split(graph, propagate(adjacency, torch.cat([self.user, t]), self.num_layers, rows=at))
            for c, t in tables.items()
        }

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``softmax``) and ``contrast``."""
        rows, at = batch_rows(batch, self.objective)
        views = self.views(graph, rows)
        terms = self.ranking_loss(graph, self._joined(list(views.values())), rows, at)
        chosen, ids = at.positive.unique(), batch.positive.unique()
        here = {m: graph.features(m).present[ids] for m in self.modalities}
        here["id"], each = torch.ones_like(ids, dtype=torch.bool), []
        for first, second in pairwise(("id", *self.modalities)):
            both = chosen[here[first] & here[second]]
            a, b = (self.guide[c](views[c].video[both]) for c in (first, second))
            each.append(info_nce(a, b, self.temperature))
        return {**terms, "contrast": self.contrast * torch.stack(each).sum()}
