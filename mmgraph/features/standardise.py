"""The one standardiser of features: columns on one scale, by the rows that are there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgraph.ops import checks

__all__ = ["Standardiser"]

_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Standardiser:
    """What puts a feature matrix on one scale, and any later row on the same: x ← (x − mean) / σ by column.

    With ``whiten`` x ← (x − mean) Q diag(1/√(λ + λ_max/100)) of the covariance Q diag(λ) Qᵀ instead: where a few
    directions hold nearly all variance (pooled sound), cosines see nothing else without it. Fit it on rows of training
    videos, apply it to all.

    Args:
        mean: [D].
        scale: σ [D], of the population; a column that never varies keeps a scale of 1e-6 and becomes 0.
        axes: [D, D], the whitening matrix that stands in for 1/σ, or None.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor | None = None

    @classmethod
    def fit(cls, values: Tensor, present: Tensor | None = None, *, whiten: bool = False) -> Standardiser:
        """Mean and scale of the present rows, in the precision of ``values`` [n, D]; of no rows: 0 and 1.

        Args:
            values: [n, D].
            present: [n] bool, the rows that count; None: all.
            whiten: as above.

        Raises:
            TypeError: ``values`` are no floating point numbers.
            ValueError: ``values`` is no matrix, or ``present`` has another length.
        """
        x = _checked(values, present)
        x = x if present is None else x[present]
        if not len(x):
            return cls(x.new_zeros(x.shape[1]), x.new_ones(x.shape[1]))
        mean = x.mean(0)
        # the rounded mean of equal numbers is not that number, and the difference would be blown up
        mean = torch.where((x == x[:1]).all(0), x[0], mean)
        centred = x - mean
        scale = centred.square().mean(0).sqrt().clamp_min(_LEAST)
        if not whiten:
            return cls(mean, scale)
        size, axes = torch.linalg.eigh(centred.T @ centred / len(x))
        return cls(mean, scale, axes * (size.clamp_min(0) + size[-1].clamp_min(1e-12) / 100).rsqrt())

    @property
    def matrix(self) -> Tensor:
        """[D, D]: what centred rows are multiplied by."""
        return torch.diag(1 / self.scale) if self.axes is None else self.axes

    def __call__(self, values: Tensor, present: Tensor | None = None, *, unit: bool = False) -> Tensor:
        """Rows on the scale [n, D].

        Args:
            values: [n, D].
            present: [n] bool; the other rows become 0. None: all are.
            unit: scale rows to norm 1 (a row at the mean stays 0).

        Raises:
            ValueError: another width than at :meth:`fit`, or ``present`` of another length.
        """
        x = _checked(values, present)
        if x.shape[1] != len(self.mean):
            raise ValueError(f"features of width {x.shape[1]}, but the standardiser was fit on {len(self.mean)}")
        x = (x - self.mean) / self.scale if self.axes is None else (x - self.mean) @ self.axes
        x = torch.nn.functional.normalize(x, dim=1) if unit else x
        return x if present is None else x.masked_fill(~present.unsqueeze(1), 0)


def _checked(values: Tensor, present: Tensor | None) -> Tensor:
    values = checks.numbers(values, None, "features")
    if values.dim() != 2:
        raise ValueError(f"features must be a matrix [n, D], got shape {tuple(values.shape)}")
    if present is not None and (present.dtype != torch.bool or present.shape != (len(values),)):
        raise ValueError(
            f"present must be bool [{len(values)}] beside features {list(values.shape)}, got {present.dtype} "
            f"{list(present.shape)}"
        )
    return values
