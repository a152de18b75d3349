"""SMORE: modalities filtered and joined as spectra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmgraph.models.base import ALL, Rows
from mmgraph.models.multimodal.mgcn import MGCN, gathered
from mmgraph.nn.fusion import Purifier, from_spectrum, present_softmax, similar, unit_spectrum

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class SMORE(MGCN):
    """SMORE: content is denoised by a filter on its spectrum, and fused by multiplying the modalities' spectra.

    Ong and Khong, "Spectrum-based Modality Representation Fusion Graph Convolutional Network for Multimodal
    Recommendation", WSDM 2025, https://arxiv.org/abs/2412.14978. f̂_m = rfft(P_m f_m) over the width;
    uni_m = irfft(f̂_m ⊙ w_m), fused = irfft(Π_m f̂_m ⊙ w_f), w complex and learned; MGCN's purifier and gathering for
    each and for the fused view (over ``similar_fused`` edges: ``JoinKNN("max")``); side = mean of a_m ⊙ σ(W_m e) ⊙ h_m
    and σ(W_f e) ⊙ h_f, a_m the attention of the fused view to each modality. Loss as in :class:`MGCN`.

    The paper's a_m is a softmax over modalities; the public code takes it over the width, so that the uni-modal views
    shrink by about D: ``as_coded``. The product runs over the modalities that a video has.

    Args:
        graph: as :class:`MGCN`; must have ``similar_fused`` edges too.
        num_layers: of LightGCN.
        dropout: of the preferences.
        as_coded: as above.
        more: further arguments of :class:`MGCN`.
    """

    def __init__(
        self, graph: MultimodalGraph, *, num_layers: int = 4, dropout: float = 0.1, as_coded: bool = False, **more: Any
    ) -> None:
        super().__init__(graph, num_layers=num_layers, **more)
        del self.fuse
        similar(graph, "fused")
        self.as_coded, self.dropout = as_coded, nn.Dropout(dropout)
        self.purify["fused"] = Purifier(self.dim, self.dim)
        del self.purify["fused"].project
        self.prefer["fused"] = nn.Linear(self.dim, self.dim)
        size = (1, self.dim // 2 + 1, 2)
        self.filter = nn.ParameterDict({m: 0.02 * torch.randn(size) for m in (*self.modalities, "fused")})
        self.attend = nn.ModuleDict(
            {
                m: nn.Sequential(
                    nn.Linear(self.dim, self.dim),
                    nn.Tanh(),
                    nn.Linear(self.dim, self.dim if as_coded else 1, bias=False),
                )
                for m in self.modalities
            }
        )

    def views(self, graph: MultimodalGraph, rows: Rows = ALL) -> tuple[Tensor, Tensor]:
        """e and side, users first and videos after them, at the rows."""
        ids = self.propagated(graph, rows)
        content, product = {}, 1.0
        for m in self.modalities:
            feature = graph.features(m)
            spectrum = unit_spectrum(self._purifier(m).project(feature.values))
            clean = from_spectrum(spectrum * torch.view_as_complex(self.filter[m]), self.dim)
            content[m] = self._purifier(m).gated(self.video, clean, feature.present)
            # a factor of 1 leaves out what is absent
            product = product * torch.where(feature.present.unsqueeze(1), spectrum, torch.ones_like(spectrum))
        fused = from_spectrum(product * torch.view_as_complex(self.filter["fused"]), self.dim)
        some = torch.stack([graph.features(m).present for m in self.modalities]).any(0)
        content["fused"] = self._purifier("fused").gated(self.video, fused, some)
        return ids, self.side(ids, *gathered(graph, content, self.modalities, rows))

    def _purifier(self, name: str) -> Purifier:
        return self.purify[name]  # type: ignore[return-value]

    def side(self, ids: Tensor, views: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """The fused side view [n, D]."""
        scores = {m: self.attend[m](views["fused"]) for m in self.modalities}
        if self.as_coded:
            weights = {m: s.softmax(-1) for m, s in scores.items()}
        else:
            joint = present_softmax(torch.cat(list(scores.values()), 1), torch.stack([present[m] for m in scores], 1))
            weights = dict(zip(scores, joint.split(1, 1), strict=True))
        parts = [weights.get(m, 1.0) * self.dropout(torch.sigmoid(self.prefer[m](ids))) * h for m, h in views.items()]
        return torch.stack(parts).mean(0)
