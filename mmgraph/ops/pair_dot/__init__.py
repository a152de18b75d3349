"""Dot products of each row with rows of its own: scores of many negatives a pair."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.dispatch import resolve
from mmgraph.ops.pair_dot.op import pair_dot_op

__all__ = ["pair_dot"]

# places up to which gathered rows are sooner than what it takes to call the kernels, on CPU and elsewhere
_FEW_CPU, _FEW = 1 << 11, 1 << 15


def pair_dot(left: Tensor, right: Tensor, places: Tensor, *, impl: str = "auto") -> Tensor:
    """``out[b, n] = left[b] · right[places[b, n]]``: what ``(left.unsqueeze(1) * right[places]).sum(2)`` is.

    Unless they are few, the gathered rows [B, N, D] are never formed, neither for the products nor for the gradients: a
    batch of 2,048 with 800 negatives and a width of 64 would write 400 MB of them, several times. Sums run in float32
    (float64 for float64). Differentiable, twice, in ``left`` and in ``right``; the same bits each time.

    Args:
        left: [B, D].
        right: [n, D].
        places: [B, N] rows of ``right``, repeats allowed.
        impl: "auto", "reference", "cpu" or "triton".

    Returns:
        [B, N] of the wider of both types.

    Raises:
        TypeError: places are not whole numbers, or numbers not floating point.
        ValueError: sizes or devices do not fit, or a place outside ``right``.
    """
    left = checks.numbers(left, (None, None), "left")
    right = checks.numbers(right, (None, left.shape[1]), "right", like=left, beside="left")
    places = checks.rows(places, len(right), "places", like=left, dim=2)
    if len(places) != len(left):
        raise ValueError(f"places must be [{len(left)}, N], a line for each row of left, got {list(places.shape)}")
    dtype, name = torch.promote_types(left.dtype, right.dtype), resolve(impl, left)
    left, right = left.to(dtype), right.to(dtype)
    if impl == "auto" and places.numel() <= (_FEW_CPU if left.is_cpu else _FEW):
        return torch.linalg.vecdot(F.embedding(places, right), left.unsqueeze(1))
    return pair_dot_op(left, right, places, name)
