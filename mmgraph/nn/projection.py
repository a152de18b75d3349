"""The first layer over a modality's features, which knows whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class FeatureLinear(nn.Linear):
    """A linear map of one modality's features.

    Args:
        modality: its name, for errors.
        in_dim, out_dim: widths.
        bias: add one.
    """

    def __init__(self, modality: str, in_dim: int, out_dim: int, bias: bool = True) -> None:
        super().__init__(in_dim, out_dim, bias)
        self.modality = modality

    def forward(self, input: Tensor) -> Tensor:
        """[..., out_dim] of features [..., in_dim].

        Raises:
            ValueError: features of another width.
        """
        expect_width(self.modality, input, self.in_features)
        return super().forward(input)


class SkipTower(nn.Sequential):
    """x + W₂ σ(W₁ x + b₁) + b₂: a tower over rows that are of use as they are.

    Args:
        width: of x.
        hidden: of the layer between.
        activation: σ.
    """

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__(nn.Linear(width, hidden), activation, nn.Linear(hidden, width))

    def forward(self, input: Tensor) -> Tensor:
        """[..., width] of x [..., width]."""
        return input + super().forward(input)


def expect_width(modality: str, values: Tensor, width: int) -> None:
    """Refuses features [..., D] of another width than a model was made for.

    Raises:
        ValueError: as said, with what to do.
    """
    if values.shape[-1] != width:
        raise ValueError(
            f"{modality}: width {values.shape[-1]}, but the model was made for {width}: give it features of the "
            "encoder that it was trained on, or make it from this graph"
        )


def projections(graph: MultimodalGraph, modalities: Sequence[str], dim: int, bias: bool = True) -> nn.ModuleDict:
    """A linear map to width ``dim`` for each of the modalities, by name."""
    return nn.ModuleDict({m: FeatureLinear(m, graph.feature_dims[m], dim, bias) for m in modalities})
