"""Top-k on CPU by the compiled kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops.compiled import KINDS, call, library
from mmgraph.ops.csr import CSR

_LONG = 512  # lists from which sorting is quicker than inserting
_MANY = 32  # users from which making a table of bounds pays


def compiled() -> bool:
    """Whether the kernel is there."""
    return library() is not None


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
        raise ValueError("a score is NaN: scores, or the user and video rows that they are products of, hold one")
    return best, column


def scan(left: Tensor, table: Tensor, out: Tensor) -> Tensor:
    """``left @ table[:, :V]`` into ``out`` [B, V] bfloat16, for a few rows: one pass over the table.

    Args:
        left: [B, W] float32.
        table: [W, S] bfloat16, contiguous, with S at least V.
        out: filled, and returned.
    """
    rows, columns = out.shape
    if left.shape != (rows, len(table)) or table.shape[1] < columns:
        raise ValueError(f"[{rows}, {columns}] is not {list(left.shape)} times {list(table.shape)}")
    call("scan", torch.bfloat16, rows, left, table, out, len(table), table.shape[1], columns)
    return out


def bounds_pay(user: Tensor, video: Tensor, k: int) -> bool:
    """Whether one ranking is quicker by bounds, their table included: this CPU multiplies bfloat16, for many users."""
    return (
        serves(user, 2 * k + 25)
        and user.dtype == video.dtype == torch.float32
        and len(user) >= _MANY
        and video.shape[0] >= 16 * (2 * k + 25)
        and torch.cpu._is_avx512_bf16_supported()
    )
