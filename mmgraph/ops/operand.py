"""A CSR as the tensors that an op takes: declared here, once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops.csr import CSR


class Operand(NamedTuple):
    """``A = diag(row_scale) · S · diag(col_scale)`` [R, C] beside its transpose, as in :class:`mmgraph.ops.CSR`."""

    indptr: Tensor
    indices: Tensor
    values: Tensor | None
    row_scale: Tensor | None
    col_scale: Tensor | None
    t_indptr: Tensor
    t_indices: Tensor
    t_values: Tensor | None
    """The values in the order of the transpose; None: ``values[t_order]``."""
    t_order: Tensor | None
    """[E] the position in A of each edge of the transpose; None where no op needs it (symmetric weights, or none)."""

    @classmethod
    def of(cls, a: CSR) -> Operand:
        """``a`` with its weights."""
        scales = (a.row_scale, a.col_scale)
        if a.symmetric:
            return cls(a.indptr, a.indices, a.values, *scales, a.indptr, a.indices, a.values, None)
        out = cls.pattern(a)._replace(values=a.values, row_scale=a.row_scale, col_scale=a.col_scale)
        if a.values is None:
            return out._replace(t_order=None)
        return out if a.values.requires_grad else out._replace(t_values=a.transpose().values)

    @classmethod
    def pattern(cls, a: CSR) -> Operand:
        """``a`` without its weights, for ops that read where its edges are."""
        t_indptr, t_indices, t_order = a._transposed_pattern()
        return cls(a.indptr, a.indices, None, None, None, t_indptr, t_indices, None, t_order)

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        return self.indptr.shape[0] - 1, self.t_indptr.shape[0] - 1

    def transposed(self, again: bool = False) -> Operand:
        """Aᵀ; ``again`` where gradients may flow through it, which needs what undoes ``t_order``."""
        t_values = self.t_values
        if self.values is not None and t_values is None:
            assert self.t_order is not None
            t_values = self.values.index_select(0, self.t_order)
        known = None if self.values is not None and self.values.requires_grad else self.values
        order = torch.argsort(self.t_order) if again and self.t_order is not None else None
        back = (self.t_indptr, self.t_indices, t_values, self.col_scale, self.row_scale)
        return Operand(*back, self.indptr, self.indices, known, order)
