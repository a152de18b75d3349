"""PGL: trained on the principal part of the graph, used on the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import info_nce
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, Multimodal
from mmgraph.nn.fusion import from_alike, similar
from mmgraph.nn.projection import projections
from mmgraph.nn.tables import xavier_table
from mmgraph.ops import propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class PGL(Multimodal):
    """PGL: videos are their content and have no id; LightGCN on a principal subgraph plus like videos.

    Yu et al., "Mind Individual Information! Principal Graph Learning for Multimedia Recommendation", AAAI 2025,
    https://doi.org/10.1609/aaai.v39i12.33429. v = [P_m f_m/‖·‖]_m, u = [U_m]_m, each M · D wide; user = LightGCN, video
    = LightGCN + S v, S the ``similar_<m>`` edges together (``ModalityKNN``). Its local form trains on a share of the
    edges kept by degree, an epoch transform: ``epoch_transforms=(EdgeDrop(0.7, degree_sensitive=True),)``, and ranks on
    the whole graph. BPR + λ/2 (InfoNCE of two dropouts of the users, and of the videos). The released settings have λ =
    0, which leaves the second term out; the paper's is the default here.

    A video that lacks a modality has a block of zeros; with ``fallback`` a video without any has an id in its place.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`; must have the
            ``similar_<m>`` edges.
        num_layers: of LightGCN.
        contrast: λ.
        dropout: of the two views.
        temperature: τ.
        fallback: as above.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        contrast: float = 0.05,
        dropout: float = 0.2,
        temperature: float = 0.2,
        fallback: bool = True,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, **more)
        self.num_layers, self.dropout = num_layers, nn.Dropout(dropout)
        self.contrast, self.temperature = contrast, temperature
        for m in self.modalities:
            similar(graph, m)
        width = self.dim * len(self.modalities)
        self.user = xavier_table(graph.num_users, width)
        self.project = projections(graph, self.modalities, self.dim)
        nothing = ~torch.stack([graph.features(m).present for m in self.modalities]).any(0)
        needed = fallback and bool(nothing.any())
        table = torch.empty(graph.num_videos if needed else 0, width)
        self.identity = nn.Parameter(nn.init.xavier_uniform_(table)) if needed else None

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, M · D], video [V, M · D], or rows of them."""
        video = self.content(graph)
        every = torch.cat([self.user, video])
        out = propagate(graph.adjacency("interacts"), every, self.num_layers, rows=rows.stacked(graph))
        user, own = rows.split(graph, out)
        return Embeddings(user, own + from_alike(graph, self.modalities, video, rows.video))

    def content(self, graph: MultimodalGraph) -> Tensor:
        """v, [V, M · D]."""
        blocks, some = [], torch.zeros(graph.num_videos, 1, dtype=torch.bool, device=self.user.device)
        for m in self.modalities:
            feature = graph.features(m)
            here = feature.present.unsqueeze(1)
            blocks.append(F.normalize(self.project[m](feature.values), dim=1) * here)
            some = some | here
        video = torch.cat(blocks, 1)
        return video if self.identity is None else torch.where(some, video, self.identity)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``contrast``."""
        rows, at = batch_rows(batch, self.objective)
        emb = self.encode(graph, rows)
        terms = self.ranking_loss(graph, emb, rows, at)
        if self.contrast:
            video = emb.video[at.positive.unique()]
            each = [info_nce(self.dropout(x), self.dropout(x), self.temperature) for x in (emb.user, video)]
            terms["contrast"] = self.contrast / 2 * torch.stack(each).sum()
        return terms
