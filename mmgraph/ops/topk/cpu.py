"""Top-k on CPU by the compiled kernel, and its use of bfloat16 to score a catalogue exactly at half the cost."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.compiled import KINDS, call, library
from mmgraph.ops.csr import CSR
from mmgraph.ops.spmm import cpu as spmm

_LONG = 512  # lists from which sorting is quicker than inserting
_ROUNDED = 2.0**-7 * 1.02  # a dot product of vectors rounded to bfloat16 is off by at most this · ‖u‖‖v‖


def serves(scores: Tensor, k: int) -> bool:
    """Whether the kernel can select from these scores, and is there."""
    return scores.device.type == "cpu" and scores.dtype in KINDS and k <= _LONG and library() is not None


def select(scores: Tensor, k: int, seen: CSR | None = None, users: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest of each row of ``scores`` [B, V], best first, ties to the lower column.

    Args:
        scores: [B, V], only read.
        k: at most V.
        seen: [U, V], the pairs to pass over; its columns ascend within a row, as a CSR's do.
        users: [B], the row of ``seen`` of each row of scores.

    Returns:
        Scores [B, k] float32, -inf where a row has fewer; columns [B, k] int64, -1 there.

    Raises:
        ValueError: a score is NaN.
    """
    scores = scores.contiguous()
    best = torch.empty(len(scores), k)
    column = torch.empty(len(scores), k, dtype=torch.int64)
    hidden = (None, None, None)
    if seen is not None and users is not None:
        hidden = (users.contiguous(), seen.indptr, seen.indices)
    if call("topk", scores.dtype, len(scores), scores, scores.shape[1], k, *hidden, best, column):
        raise ValueError("a score is NaN")
    return best, column


class Bounded:
    """Exact top-k of float32 dot products with most of the work done in bfloat16.

    Rounded to bfloat16, a dot product is off by at most c ‖u‖‖v‖, c = 2⁻⁷ and a little. So the products of [u, ‖u‖]
    and [v, c ‖v‖] are upper bounds. The videos with the K > k highest bounds are scored in float32; when the k-th of
    these scores is above the (K + 1)-th bound, no other video can be among the best, and the list is exact. Rows where
    it is not are left to the caller.
    """

    def __init__(self, video: Tensor, k: int) -> None:
        norm = torch.linalg.vector_norm(video, dim=1, keepdim=True)
        self.k, self.wide = k, 2 * k + 24
        self.video = video
        self.finite = bool(norm.isfinite().all())
        # the bound's own column is rounded too, hence more than _ROUNDED of it; widths that are even multiply faster
        self.table = torch.cat([video, norm * (_ROUNDED * 1.02), torch.zeros_like(norm)], 1).bfloat16().T.contiguous()
        self.bounds = video.new_empty(0, dtype=torch.bfloat16)

    @staticmethod
    def serves(user: Tensor, video: Tensor, k: int) -> bool:
        """Whether it is possible, and quicker than float32: this CPU multiplies bfloat16."""
        return (
            serves(user, 2 * k + 25)
            and user.dtype == video.dtype == torch.float32
            and video.shape[0] >= 16 * (2 * k + 25)
            and torch.cpu._is_avx512_bf16_supported()
        )

    def __call__(self, user: Tensor, seen: CSR | None, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [B, k], columns [B, k], and the rows that are not certain."""
        rows = len(user)
        norm = torch.linalg.vector_norm(user, dim=1, keepdim=True)
        if not self.finite or not bool(norm.isfinite().all()):
            everything = torch.arange(rows)
            return user.new_empty(rows, self.k), torch.empty(rows, self.k, dtype=torch.int64), everything
        if len(self.bounds) < rows:
            self.bounds = user.new_empty(rows, self.table.shape[1], dtype=torch.bfloat16)
        left = torch.cat([user, norm * 1.01, torch.zeros_like(norm)], 1).bfloat16()
        bounds, column = select(torch.mm(left, self.table, out=self.bounds[:rows]), self.wide + 1, seen, users)
        # what is -1 comes last, and keeps its -inf
        column, none = column[:, :-1], bounds[:, :-1] == -torch.inf
        pairs = torch.arange(0, column.numel() + 1, self.wide)
        indices = column.clamp(min=0).to(torch.int32).flatten()
        score = spmm.edge_dot(pairs, indices, user, self.video).view(rows, -1).masked_fill_(none, -torch.inf)
        column, order = column.sort(dim=1)
        score, place = score.gather(1, order).sort(dim=1, descending=True, stable=True)
        column = column.gather(1, place)
        last = bounds[:, -1]
        last = last + 2.0**-8 * 1.01 * last.abs()  # the bound was rounded once more when it was stored
        unsure = ~((score[:, self.k - 1] > last) | (last == -torch.inf))
        return score[:, : self.k], column[:, : self.k], unsure.nonzero().flatten()
