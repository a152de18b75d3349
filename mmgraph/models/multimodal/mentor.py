"""MENTOR: DRAGON with modalities aligned in their moments and views that agree."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import moment_alignment
from mmgraph.models.collaborative.contrastive import chosen
from mmgraph.models.collaborative.contrastive import contrast as two_views
from mmgraph.models.multimodal.dualgnn import DRAGON
from mmgraph.nn.propagation import layers, noisy
from mmgraph.nn.tables import xavier_table
from mmgraph.ops import propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class MENTOR(DRAGON):
    """MENTOR: DRAGON, and self-supervision on several levels; an id branch guides and is not scored.

    Xu et al., "MENTOR: Multi-level Self-supervised Learning for Multimodal Recommendation", AAAI 2025,
    https://arxiv.org/abs/2402.19407. Added terms: ``align`` a Σ |Δmean| + |Δvar| over all pairs of {id, fused, each m}
    of the videos' propagated rows;  ``noise`` InfoNCE between the modalities' mean and the same with noise in each
    layer; ``mask`` g (1 − cos(MLP(masked), plain)), masked: features of which a share is hidden.

    In the public code the mask term is computed under ``no_grad``, so that it and its MLP are never trained:
    ``as_coded`` leaves it out.

    Args:
        graph, l2, as_coded, more: as :class:`DRAGON`.
        align: a.
        contrast: weight of the noise term.
        temperature: its τ.
        noise: length of the noise.
        mask: g.
        hidden: share of the features hidden.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        l2: float = 1e-3,
        as_coded: bool = False,
        align: float = 0.1,
        contrast: float = 1e-3,
        temperature: float = 0.2,
        noise: float = 0.1,
        mask: float = 1e-3,
        hidden: float = 0.5,
        **more: Any,
    ) -> None:
        super().__init__(graph, l2=l2, as_coded=as_coded, **more)
        self.align, self.contrast, self.temperature, self.noise = align, contrast, temperature, noise
        self.mask, self.hidden = 0.0 if as_coded else mask, nn.Dropout(hidden)
        nodes = graph.num_users + graph.num_videos
        self.identity = xavier_table(nodes, self.dim, normal=True) if align else None
        self.predict = nn.Linear(self.dim, self.dim) if self.mask else None

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """:class:`DRAGON`'s terms, ``align``, ``noise`` and ``mask``."""
        terms = super().loss(graph, batch)
        rows = chosen(batch)
        users, videos = self.views(graph)
        adjacency = graph.adjacency("interacts")
        if self.identity is not None:
            guide = propagate(adjacency, self.identity, 2)[graph.num_users :]
            every = {"id": guide, "fused": torch.stack(list(videos.values())).mean(0), **videos}
            have = {m: graph.features(m).present for m in videos}
            present = [x[have[c]] if c in have else x for c, x in every.items()]
            pairs = [moment_alignment(a, b) for a, b in combinations(present, 2)]
            terms["align"] = self.align * torch.stack(pairs).sum()
        at = rows.stacked(graph)
        plain = [F.embedding(at, torch.cat([users[m], videos[m]])) for m in self.modalities]  # type: ignore[arg-type]
        drawn = [sum(layers(adjacency, self._start(graph, m), 2, noisy(self.noise), at)) for m in self.modalities]
        first, second = (rows.split(graph, torch.stack(x).mean(0)) for x in (plain, drawn))  # type: ignore[arg-type]
        terms["noise"] = self.contrast * two_views(first, second, self.temperature)
        if self.predict is not None:
            masked = [propagate(adjacency, self._start(graph, m, self.hidden), 2, rows=at) for m in self.modalities]
            guess, target = self.predict(torch.stack(masked).mean(0)), torch.stack(plain).mean(0).detach()
            terms["mask"] = self.mask * (1 - F.cosine_similarity(guess, target, dim=1).mean())
        return terms

    def _start(self, graph: MultimodalGraph, modality: str, hide: nn.Module | None = None) -> Tensor:
        """n([p_m ; MLP_m f_m]), with a share of the features hidden by ``hide``."""
        feature = graph.features(modality)
        values = feature.values if hide is None else hide(feature.values)
        content = self.project[modality](values) * feature.present.unsqueeze(1)
        return F.normalize(torch.cat([self.preference[modality], content]), dim=1)
