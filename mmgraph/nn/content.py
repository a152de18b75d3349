"""Content of videos as models read it: standardised features, and Gaussian experts over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.features.standardise import Standardiser
from mmgraph.nn.projection import expect_width
from mmgraph.nn.vae import LOG_VAR_RANGE, product_of_experts

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


def hide_at_random(present: Mapping[str, Tensor], chance: float) -> dict[str, Tensor]:
    """Presence, modality -> bool [n], of which each is hidden with the chance; a video keeps one that it has."""
    if not chance:
        return dict(present)
    here = torch.stack(list(present.values()), 1)
    luck = torch.rand(here.shape, device=here.device) * here
    keep = here & ((luck >= chance) | (luck == luck.amax(1, keepdim=True)))
    return dict(zip(present, keep.unbind(1), strict=True))


class ContentInput(nn.Module):
    """Features of any videos, seen or new, on one scale: columns standardised, rows of norm √D_m, absent rows 0.

    x = (f − mean) T, T = diag(1/σ) or, for the modalities in ``whiten``, Q diag(1/√(λ + λ_max/100)) of the covariance
    Q diag(λ) Qᵀ: where a few directions hold nearly all variance (pooled sound), cosines see nothing else without it.
    Mean and T are those of the present rows of videos with an interaction, fixed at construction and saved with the
    weights, so that a video that comes later is read exactly as the others were.

    Args:
        graph: gives features and interactions.
        modalities: which to read; all of the graph's by default.
        weights: modality -> factor on its rows; 1 where left out.
        whiten: modalities to whiten.

    Raises:
        ValueError: no modality, or one that the graph does not have.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        modalities: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        whiten: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.whiten = list(whiten)
        self.modalities = list(graph.modalities if modalities is None else modalities)
        self.weights = {m: 1.0 for m in self.modalities} | dict(weights or {})
        unknown = [m for m in (*self.modalities, *self.weights, *whiten) if m not in graph.modalities]
        if not self.modalities or unknown:
            asked = list(dict.fromkeys((*self.modalities, *self.weights, *whiten)))
            raise ValueError(f"modalities {asked} asked for, but this graph has {graph.modalities}")
        self.dims = {m: graph.feature_dims[m] for m in self.modalities}
        for m in self.modalities:
            self.register_buffer(f"mean_{m}", torch.zeros(self.dims[m]))
            self.register_buffer(f"transform_{m}", torch.eye(self.dims[m]))
        self.fit(graph)

    def fit(self, graph: MultimodalGraph) -> None:
        """Takes mean and T anew, from this graph."""
        warm = graph.seen.transpose().degree() > 0
        for m in self.modalities:
            feature = graph.features(m)
            expect_width(m, feature.values, self.dims[m])
            rows = feature.present & warm if bool((feature.present & warm).any()) else feature.present
            x = feature.values[rows].double()
            if not len(x):
                continue
            standard = Standardiser.fit(x, whiten=m in self.whiten)
            self.get_buffer(f"mean_{m}").copy_(standard.mean)
            self.get_buffer(f"transform_{m}").copy_(standard.matrix)

    def forward(
        self, features: Mapping[str, Features], rows: Tensor | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Inputs of some videos.

        Args:
            features: modality -> features of n videos; one that is left out counts as absent from all.
            rows: which of the n videos; all when None.

        Returns:
            modality -> [n, D_m] and modality -> present, bool [n].

        Raises:
            ValueError: none of this module's modalities is given, or a matrix has another width.
        """
        given = {m: features[m] for m in self.modalities if m in features}
        if not given:
            raise ValueError(f"features of {sorted(features)} given, but the model reads {self.modalities}")
        first = next(iter(given.values()))
        count = first.present.shape[0] if rows is None else len(rows)
        x, present = {}, {}
        for m in self.modalities:
            mean = self.get_buffer(f"mean_{m}")
            if m not in given:
                x[m] = mean.new_zeros(count, self.dims[m])
                present[m] = torch.zeros(count, dtype=torch.bool, device=mean.device)
                continue
            values, present[m] = given[m].values, given[m].present
            expect_width(m, values, self.dims[m])
            if rows is not None:
                values, present[m] = values[rows], present[m][rows]
            unit = F.normalize((values - mean) @ self.get_buffer(f"transform_{m}"), dim=1)
            x[m] = unit * (present[m].unsqueeze(1) * self.weights[m] * self.dims[m] ** 0.5)
        return x, present

    def of(self, graph: MultimodalGraph, rows: Tensor | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The same, of a graph's videos."""
        return self({m: graph.features(m) for m in self.modalities}, rows)

    @torch.no_grad()
    def principal(self, graph: MultimodalGraph, dim: int) -> dict[str, Tensor]:
        """Principal axes of all modalities side by side: modality -> [D_m, dim].

        Σ_m x_m A_m are the first ``dim`` principal coordinates of the warm videos' inputs (each modality over √D_m,
        so that wide ones do not count more), scaled to a mean squared norm of ``dim``; axes beyond the inputs' width
        are 0.
        """
        x, _ = self.of(graph)
        parts = [x[m].double() / self.dims[m] ** 0.5 for m in self.modalities]
        joined = torch.cat(parts, 1)
        warm = graph.seen.transpose().degree() > 0
        rows = joined[warm] if bool(warm.any()) else joined
        axes = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :dim]
        # an axis and its negative are alike: fix the sign, so that the start does not hang on the eigensolver
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        size = (rows @ axes).square().sum(1).mean().clamp_min(1e-12)
        axes = F.pad(axes * (dim / size).sqrt(), (0, dim - axes.shape[1]))
        return {
            m: (a / self.dims[m] ** 0.5).float()
            for m, a in zip(self.modalities, axes.split([self.dims[m] for m in self.modalities]), strict=True)
        }


class Experts(nn.Module):
    """p(z | g): one Gaussian expert a modality, multiplied; those of absent modalities are left out.

    μ_m = A_m x_m + B_m ReLU(C_m x_m), ln σ_m² = b_m + w_mᵀ x_m;  the product with the standard normal as in
    :func:`mmgraph.nn.product_of_experts`. A starts at the principal axes of all modalities together, B near 0, σ_m²
    at 1: before any training, z is the videos' content in its principal coordinates.

    Args:
        graph: gives widths and the axes.
        content: the inputs' module.
        dim: width of z.
        hidden: width of C_m.
    """

    def __init__(self, graph: MultimodalGraph, content: ContentInput, dim: int, hidden: int = 64) -> None:
        super().__init__()
        axes = content.principal(graph, dim)
        gain = 1.0 + len(axes)  # of the product's mean, with unit variances and the standard normal among the factors
        self.linear = nn.ParameterDict({m: nn.Parameter(a * gain) for m, a in axes.items()})
        self.inner = nn.ModuleDict({m: nn.Linear(content.dims[m], hidden) for m in axes})
        self.outer = nn.ModuleDict({m: nn.Linear(hidden, dim) for m in axes})
        self.spread = nn.ModuleDict({m: nn.Linear(content.dims[m], 1) for m in axes})
        for m in axes:
            for layer in (self.outer[m], self.spread[m]):
                nn.init.normal_(layer.weight, std=1e-3)  # type: ignore[arg-type]
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """μ and ln σ² of p(z | g), each [n, dim], from inputs [n, D_m] and their presence [n]."""
        means, log_vars = {}, {}
        for m, rows in x.items():
            means[m] = rows @ self.linear[m] + self.outer[m](F.relu(self.inner[m](rows)))
            log_vars[m] = self.spread[m](rows).clamp(*LOG_VAR_RANGE).expand_as(means[m])
        return product_of_experts(means, log_vars, present)
