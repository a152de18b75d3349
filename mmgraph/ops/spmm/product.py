"""What a product on CPU can be asked for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Product(NamedTuple):
    """``A x``, [R, D], some rows of it, or with something added on the way. Sums run in float32 or wider."""

    indptr: Tensor
    indices: Tensor
    values: Tensor | None
    """A [R, C], as ``reference.matmul`` takes it."""
    x: Tensor
    """[C, D], or with ``slot`` only the rows of it that are not zero."""
    rows: Tensor | None = None
    """[B] int64: only these rows of the result."""
    slot: Tensor | None = None
    """[C] int32, where each row of the whole x lies in the one given, -1 for a row of zeros."""
    plus: Tensor | None = None
    """[P, D], rows to be added to the result."""
    plus_slot: Tensor | None = None
    """[R] int32, which of them to each row of A's, -1 none."""
    dtype: torch.dtype | None = None
    """Of ``plus`` and of the result; None: that of x."""
