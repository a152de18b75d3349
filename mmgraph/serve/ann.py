"""An index for more videos than are searched exactly in time: faiss finds candidates, what is new is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.ops import TopK, TopKIndex

_PER_LIST = 39  # rows a list that k-means is trained on at least; faiss warns below
_MEASURED = 100
_WIDER = 4  # candidates asked of faiss for each that is wanted


class ApproximateIndex:
    """Inverted lists over the rows there were, an exact tail of those that came or changed since.

    A dot product is ranked by distance between vectors of one norm: v' = [v ; √(M² − ‖v‖²)], M the longest row
    (Bachrach et al., RecSys 2014, https://doi.org/10.1145/2645710.2645741), so that lists hold what is near, long rows
    too. The candidates of each query's ``probes`` nearest lists are scored in float32, with the tail; what is hidden or
    excluded is left out. A filter that few videos pass finds fewer of them. :attr:`recall` says what to expect;
    :class:`mmgraph.serve.index.Index` is exact, and fast enough up to a few million rows.

    Args:
        rows: [V, D] float32.
        lists: how many; √V · 4 by default.
        probes: lists read for a query.
        seed: of k-means.

    Attributes:
        recall: share of the exact best 100 that it finds, over up to 100 rows of videos as queries, measured when it
            was made; :meth:`measure` does so for other queries.
        tail: how many rows are searched exactly; :meth:`rebuild` puts them into lists.

    Raises:
        ImportError: without the package of ``mmgraph[ann]``.
        ValueError: fewer rows than lists can be made of.
    """

    def __init__(self, rows: Tensor, *, lists: int | None = None, probes: int = 64, seed: int = 0) -> None:
        self.probes, self.seed, self._lists = probes, seed, lists
        self._rows, self._hidden = rows.clone(), torch.zeros(len(rows), dtype=torch.bool)
        self.rebuild()

    def rebuild(self) -> None:
        """Makes the lists anew from all rows; the tail is empty afterwards."""
        try:
            import faiss
        except ImportError as error:
            raise ImportError("an approximate index needs faiss: pip install 'mmgraph[ann]'") from error
        rows = self._rows.numpy()
        count = self._lists or max(1, min(int(4 * len(rows) ** 0.5), len(rows) // _PER_LIST))
        if len(rows) < count:
            raise ValueError(f"{len(rows)} rows cannot make {count} lists: give fewer, or use an exact index")
        square = np.square(rows).sum(1)
        longest = float(square.max(initial=0))
        wide = np.column_stack([rows, np.sqrt(np.maximum(longest - square, 0))]).astype(np.float32)
        coarse: Any = faiss.IndexFlatL2(wide.shape[1])
        self._ann: Any = faiss.IndexIVFFlat(coarse, wide.shape[1], count)
        self._ann.cp.seed = self.seed
        self._ann.train(wide)
        self._ann.add(wide)
        self._ann.nprobe = min(self.probes, count)
        self._built = len(rows)
        self._stale = torch.zeros(len(rows), dtype=torch.bool)
        self._tail = TopKIndex(self._rows[:0])
        self._ids: list[int] = []
        self.recall = self.measure(self._rows[:: max(1, len(rows) // _MEASURED)][:_MEASURED], min(100, len(rows)))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Tensor:
        """[V, D]: do not write to it."""
        return self._rows

    @property
    def hidden(self) -> Tensor:
        """[V] bool: do not write to it."""
        return self._hidden

    @property
    def tail(self) -> int:
        """Rows that are searched exactly."""
        return len(self._ids)

    def append(self, rows: Tensor) -> int:
        """Further videos [n, D]; the row of the first."""
        first = len(self)
        self._rows = torch.cat([self._rows, rows])
        self._hidden = torch.cat([self._hidden, torch.zeros(len(rows), dtype=torch.bool)])
        self._stale = torch.cat([self._stale, torch.zeros(len(rows), dtype=torch.bool)])
        self._tail.append(rows)
        self._ids += range(first, first + len(rows))
        return first

    def replace(self, row: int, values: Tensor) -> None:
        """Another row [D] for a video: it is searched exactly from now on."""
        self._rows[row] = values
        if row in self._ids:
            self._tail.set(torch.tensor([self._ids.index(row)]), values[None])
            return
        self._stale[row] = True  # what the lists hold of it is no more
        self._tail.append(values[None])
        self._ids.append(row)

    def hide(self, row: int) -> None:
        """Keeps a video out of every list."""
        self._hidden[row] = True

    def show(self, row: int) -> None:
        """Lets a hidden video in again."""
        self._hidden[row] = False

    def search(
        self, queries: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> TopK:
        """About the k videos with the highest dot product for each query; of the tail exactly the best.

        Args:
            queries: [B, D].
            k: how many; -1 and -inf where too few were found.
            exclude: for each query the rows that it may not get.
            allowed: [V] bool, the only rows permitted; all by default.
        """
        permitted = ~self._hidden if allowed is None else allowed & ~self._hidden
        longest = max((len(rows) for rows in exclude), default=0)
        found = torch.cat(
            [self._listed(queries, _WIDER * k + longest), self._newest(queries, k + longest, permitted)], 1
        )
        barred = found < 0
        for line, rows in enumerate(exclude):
            barred[line] |= torch.isin(found[line], torch.from_numpy(np.asarray(rows, np.int64)))
        barred |= ~permitted[found.clamp_min(0)]
        scores = torch.linalg.vecdot(self._rows[found.clamp_min(0)], queries.unsqueeze(1))
        scores = scores.masked_fill(barred, -torch.inf)
        # by score, ties to the lower row
        order = found.argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))[:, :k]
        score, video = scores.gather(1, order), found.gather(1, order)
        return TopK(score, video.masked_fill(score == -torch.inf, -1))

    def _listed(self, queries: Tensor, count: int) -> Tensor:
        """Rows [B, n] from the lists, -1 for none and for those that changed since."""
        wide = np.column_stack([queries.numpy(), np.zeros(len(queries), np.float32)]).astype(np.float32)
        found = torch.from_numpy(self._ann.search(wide, min(count, self._built))[1])
        return found.masked_fill(self._stale[found.clamp_min(0)], -1)

    def _newest(self, queries: Tensor, count: int, permitted: Tensor) -> Tensor:
        """Rows [B, n] from the tail, -1 for none."""
        if not self._ids:
            return torch.empty(len(queries), 0, dtype=torch.int64)
        ids = torch.tensor(self._ids)
        found = self._tail.search(queries, min(count, len(ids)), candidates=permitted[ids]).video
        return torch.where(found >= 0, ids[found.clamp_min(0)], -1)

    def measure(self, queries: Tensor, k: int = 100) -> float:
        """Share of the exact best k that it finds for some queries [B, D], over what is not hidden."""
        exact = TopKIndex(self._rows).search(queries, k, candidates=~self._hidden).video
        found = self.search(queries, k).video
        hits = [len(set(a) & set(b) - {-1}) for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
        return sum(hits) / max(int((exact >= 0).sum()), 1)
