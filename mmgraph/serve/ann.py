"""An index for more videos than are searched exactly in time: faiss finds candidates, what is new is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.bundle import Bundle
from mmgraph.ops import TopK, TopKIndex
from mmgraph.serve.index import Index, Lists, as_lists

_PER_LIST = 39  # rows a list that k-means is trained on at least; faiss warns below
_MEASURED = 100
_WIDER = 4  # candidates asked of faiss for each that is wanted


class ApproximateIndex(Index):
    """Inverted lists over the rows there were, an exact tail of those that came or changed since.

    A dot product is ranked by distance between vectors of one norm: v' = [v ; √(M² − ‖v‖²)], M the longest row
    (Bachrach et al., RecSys 2014, https://doi.org/10.1145/2645710.2645741), so that lists hold what is near, long rows
    too. The candidates of each query's ``probes`` nearest lists are scored in float32, with the tail; what is hidden or
    excluded is left out. Where a filter is given, or the lists hold too few, all rows are searched, exactly: no list is
    short. :attr:`recall` says what to expect otherwise; the exact index is fast enough up to a few million rows.

    Args:
        rows: [V, D] float32.
        lists: how many; √V · 4 by default.
        probes: lists read for a query.
        seed: of k-means.
        queries: [n, D], what recall is measured with; by default up to 100 of the rows.

    Attributes:
        recall: share of the exact best 100 that it finds for ``queries``, measured when the lists were made;
            :meth:`measure` does so for others.
        tail: how many rows are searched exactly; :meth:`rebuild` puts them into lists.

    Raises:
        ImportError: without the package of ``mmgraph[ann]``.
        ValueError: fewer rows than lists can be made of.
    """

    kind = "faiss"

    def __init__(
        self,
        rows: Tensor,
        *,
        lists: int | None = None,
        probes: int = 64,
        seed: int = 0,
        queries: Tensor | None = None,
    ) -> None:
        super().__init__(rows)
        self.probes, self.seed, self._lists = probes, seed, lists
        self._queries = rows[:: max(1, len(rows) // _MEASURED)][:_MEASURED].clone() if queries is None else queries
        self.rebuild()

    def rebuild(self) -> None:
        """Makes the lists anew from all rows; the tail is empty afterwards."""
        try:
            import faiss
        except ImportError as error:
            raise ImportError("an approximate index needs faiss: pip install 'mmgraph[ann]'") from error
        rows = self.rows.numpy()
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
        self._stale = torch.zeros(len(rows), dtype=torch.bool)  # what the lists hold of these rows is no more
        self._tail = TopKIndex(self.rows[:0])
        self._at: dict[int, int] = {}  # row -> place in the tail
        self.recall = self.measure(self._queries, min(100, len(rows)))

    @property
    def tail(self) -> int:
        """Rows that came or changed since the lists were made."""
        return len(self._at)

    def append(self, rows: Tensor) -> int:
        """Further videos [n, D]; the row of the first."""
        first = super().append(rows)
        self._tail.append(rows)
        for row in range(first, len(self)):
            self._at[row] = len(self._at)
        return first

    def replace(self, row: int, values: Tensor) -> None:
        """Another row [D] for a video: it is searched exactly from now on."""
        super().replace(row, values)
        if row in self._at:
            self._tail.set(torch.tensor([self._at[row]]), values[None])
            return
        self._stale[row] = True
        self._tail.append(values[None])
        self._at[row] = len(self._at)

    def search(
        self, queries: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> Lists:
        """:meth:`top` as lists."""
        return as_lists(self.top(queries, k, exclude, allowed))

    def top(
        self, queries: Tensor, k: int, exclude: Sequence[NDArray[np.int64]] = (), allowed: Tensor | None = None
    ) -> TopK:
        """About the k videos with the highest dot product for each query; of the tail exactly the best.

        Args:
            queries: [B, D].
            k: how many; -1 and -inf where there are no more.
            exclude: for each query the rows that it may not get.
            allowed: [V] bool, or [B, V], the only rows permitted, searched exactly; all by default.
        """
        if allowed is not None:
            return super().top(queries, k, exclude, allowed)
        found = self._near(queries, k, exclude)
        if found.video.shape[1] < k:
            return super().top(queries, k, exclude)
        short = (found.video < 0).any(1).nonzero().flatten()
        if len(short):
            mine = [exclude[line] for line in short.tolist()] if exclude else ()
            found.score[short], found.video[short] = super().top(queries[short], k, mine)
        return found

    def _near(self, queries: Tensor, k: int, exclude: Sequence[NDArray[np.int64]]) -> TopK:
        longest = max((len(rows) for rows in exclude), default=0)
        found = torch.cat([self._listed(queries, _WIDER * k + longest), self._newest(queries, k + longest)], 1)
        barred = found < 0
        for line, rows in enumerate(exclude):
            barred[line] |= torch.isin(found[line], torch.from_numpy(np.asarray(rows, np.int64)))
        barred |= self.hidden[found.clamp_min(0)]
        scores = torch.linalg.vecdot(self.rows[found.clamp_min(0)], queries.unsqueeze(1))
        scores = scores.masked_fill(barred, -torch.inf)
        # by score, ties to the lower row
        order = found.argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))[:, :k]
        score, video = scores.gather(1, order), found.gather(1, order)
        return TopK(score, video.masked_fill(score == -torch.inf, -1))

    def _listed(self, queries: Tensor, count: int) -> Tensor:
        """Rows [B, n] from the lists, -1 for none and for those that changed since."""
        wide = np.column_stack([queries.numpy(), np.zeros(len(queries), np.float32)]).astype(np.float32)
        found = torch.from_numpy(self._ann.search(wide, min(count, len(self._stale)))[1])
        return found.masked_fill(self._stale[found.clamp_min(0)], -1)

    def _newest(self, queries: Tensor, count: int) -> Tensor:
        """Rows [B, n] from the tail, -1 for none."""
        if not self._at:
            return torch.empty(len(queries), 0, dtype=torch.int64)
        ids = torch.tensor(list(self._at))
        shown = ~self.hidden[ids]
        found = self._tail.search(queries, min(count, len(ids)), candidates=shown).video
        return torch.where(found >= 0, ids[found.clamp_min(0)], -1)

    def measure(self, queries: Tensor, k: int = 100) -> float:
        """Share of the exact best k that the lists and the tail hold for some queries [B, D], of what is not hidden."""
        exact, found = super().top(queries, k).video, self._near(queries, k, ()).video
        hits = [len(set(a) & set(b) - {-1}) for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
        return sum(hits) / max(int((exact >= 0).sum()), 1)


def approximate(bundle: Bundle) -> ApproximateIndex:
    """The index of a bundle's videos, its recall measured with up to 100 of its users.

    Raises:
        ImportError, ValueError: as the class; and a model whose scores are no products of rows.
    """
    if bundle.user is None:
        raise ValueError("the bundle's model scores by no product of rows: serve it with --index exact")
    users = bundle.user[bundle.user.any(dim=1)]
    queries = users[:: max(1, len(users) // _MEASURED)][:_MEASURED].clone()
    return ApproximateIndex(bundle.video, queries=queries if len(queries) else None)
