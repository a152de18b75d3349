"""Blocks of scores that may be written to, checked for NaN, and whether a model's scores are dot products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.models.base import Embeddings, Recommender

# Scores held at once: 64 MiB of float32, far more than the caches hold, far less than memory.
BLOCK_SCORES = 2**24


def score_block(model: Recommender, emb: Embeddings, users: Tensor, seen: CSR | None = None) -> Tensor:
    """Scores of some users for all videos, what they have seen at -inf; the caller may write to the result.

    Args:
        model: its ``score`` is called.
        emb: what ``model.encode`` returned.
        users: [B] user rows.
        seen: CSR [U, V] of the pairs to mask, or None.

    Returns:
        [B, V] floating point; -inf is a model's way to say never.

    Raises:
        ValueError: a score is NaN, whose place in a ranking would mean nothing.
    """
    scores = _floating(model.score(emb, users))
    _refuse_nan(model, scores, users)
    # A model may hand out a table it keeps, or an expanded row: never write into those.
    kept = {t.untyped_storage().data_ptr() for t in (*emb, *model.buffers(), *model.parameters()) if not _sparse(t)}
    storage = scores.untyped_storage()
    if storage.data_ptr() in kept or storage.nbytes() != scores.numel() * scores.element_size():
        scores = scores.clone()
    if seen is not None:
        block, _ = seen.select(users)
        scores[block.row_indices().long(), block.indices.long()] = -torch.inf
    return scores


def score_given(model: Recommender, emb: Embeddings, users: Tensor, videos: Tensor) -> Tensor:
    """Scores of some users for videos of their own.

    Args:
        model, emb: as in :func:`score_block`.
        users: [B] user rows.
        videos: [B, N] video rows.

    Returns:
        [B, N] floating point.

    Raises:
        ValueError: a score is NaN.
    """
    if 4 * videos.shape[1] > emb.video.shape[0]:  # then scoring all of them is as cheap
        scores = _floating(model.score(emb, users)).gather(1, videos)
    else:
        scores = _floating(model.score(emb, users, videos))
    _refuse_nan(model, scores, users, videos)
    return scores


def user_blocks(users: Tensor, num_videos: int, block_size: int | None = None) -> Iterator[Tensor]:
    """Slices of ``users`` small enough that their scores for all videos fit in a block of fixed memory."""
    yield from users.split(block_size or max(1, BLOCK_SCORES // max(num_videos, 1)))


def ranking_factors(model: Recommender, emb: Embeddings) -> Embeddings | None:
    """Rows whose dot products rank as the model's scores do, for ``ops.topk``; None where there are none, or a NaN.

    With them the full matrix of scores never exists. A NaN is left to :func:`score_block`, which names it.
    """
    rows = model.factors(emb)
    return None if rows is None or any(bool(t.isnan().any()) for t in rows) else rows


def require_fitted(model: Recommender) -> None:
    """Refuses a model in closed form that was never solved: its scores would be those of an empty table.

    Raises:
        ValueError: naming what to call.
    """
    if not model.fitted:
        name = type(model).__name__
        raise ValueError(f"{name} was not fitted: call model.solve(graph), or mmgraph.fit(model, graph), first")


def _floating(scores: Tensor) -> Tensor:
    return scores if scores.is_floating_point() else scores.float()


def _refuse_nan(model: Recommender, scores: Tensor, users: Tensor, videos: Tensor | None = None) -> None:
    if bool(scores.sum().isnan()) and bool(scores.isnan().any()):  # the sum is cheap, but inf - inf is NaN too
        bad = scores.isnan().nonzero()
        row, column = bad[0].tolist()
        video = column if videos is None else int(videos[row, column])
        raise ValueError(
            f"{type(model).__name__} gave {len(bad)} NaN scores, the first for user row {int(users[row])} "
            f"and video row {video}. Look for a diverged training run (lower learning_rate) or NaN features."
        )


def _sparse(tensor: Tensor | CSR) -> bool:
    return isinstance(tensor, CSR) or tensor.layout is not torch.strided
