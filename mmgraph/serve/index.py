"""Exact top-k over video rows that are kept in memory, grow in place and can be hidden one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.ops.topk import TopK, best_of


class Index:
    """Video rows and a bias a video: 0, or -inf for one that is hidden.

    Appending costs what copying one row costs, on the average; replacing and hiding cost the same whatever V is. A row
    is a video for ever: nothing moves.

    Args:
        rows: [V, D] float32; kept as they are until the first append or replacement.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows, self._owned = rows.contiguous(), False
        self._bias = torch.zeros(len(rows))
        self._size = len(rows)

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> Tensor:
        """[V, D], a view: do not write to it."""
        return self._rows[: self._size]

    @property
    def bias(self) -> Tensor:
        """[V]: 0, or -inf where hidden; a view: do not write to it."""
        return self._bias[: self._size]

    def append(self, rows: Tensor) -> int:
        """Further videos [n, D]; the row of the first."""
        first, size = self._size, self._size + len(rows)
        self._own(size)
        self._rows[first:size] = rows
        self._bias[first:size] = 0.0
        self._size = size
        return first

    def replace(self, row: int, values: Tensor) -> None:
        """Another row [D] for a video."""
        self._own(self._size)
        self._rows[row] = values

    def hide(self, row: int) -> None:
        """Keeps a video out of every list."""
        self._bias[row] = -torch.inf

    def show(self, row: int) -> None:
        """Lets a hidden video in again."""
        self._bias[row] = 0.0

    def _own(self, size: int) -> None:
        """Memory of our own for ``size`` rows: an eighth more than asked, so that growing copies seldom."""
        if size > len(self._rows) or not self._owned:
            room = max(size, len(self._rows)) + max(1024, size // 8)
            rows, bias = torch.empty(room, self._rows.shape[1]), torch.zeros(room)
            rows[: self._size], bias[: self._size] = self._rows[: self._size], self._bias[: self._size]
            self._rows, self._bias, self._owned = rows, bias, True

    @torch.no_grad()
    def search(
        self, queries: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> TopK:
        """The k videos with the highest dot product for each query, exact, ties to the lower row.

        Args:
            queries: [B, D].
            k: how many; -1 and -inf where too few are left.
            exclude: for each query the rows that it may not get.
            allowed: [V] bool, the only rows permitted; all by default.
        """
        rows = self.rows
        scores = torch.mv(rows, queries[0])[None] if len(queries) == 1 else queries @ rows.T
        return self.best(scores, k, exclude, allowed)

    @torch.no_grad()
    def best(
        self, scores: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> TopK:
        """The same for scores [B, V] from elsewhere; they are overwritten."""
        scores += self.bias
        if allowed is not None:
            scores.masked_fill_(~allowed, -torch.inf)
        for line, hidden in enumerate(exclude):
            if len(hidden):
                scores[line, torch.from_numpy(hidden)] = -torch.inf
        return best_of(scores, k)
