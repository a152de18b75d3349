"""The products as ops that torch knows; each one's gradients are the others."""

from __future__ import annotations

from torch import Tensor

from mmgraph.ops.library import Op
from mmgraph.ops.pair_dot import reference, sparse


@Op
def pair_dot_op(left: Tensor, right: Tensor, places: Tensor, impl: str) -> Tensor:
    """``left[b] · right[places[b, n]]``, [B, N]."""
    if impl == "reference":
        return reference.dots(left, right, places)
    return sparse.dots(left, right, places, impl)


@Op
def pair_sum_op(weight: Tensor, right: Tensor, places: Tensor, impl: str) -> Tensor:
    """``Σ_n weight[b, n] right[places[b, n]]``, [B, D]."""
    if impl == "reference":
        return reference.sums(weight, right, places)
    return sparse.sums(weight, right, places, impl)


@Op
def pair_spread_op(weight: Tensor, left: Tensor, places: Tensor, rows: int, impl: str) -> Tensor:
    """``Σ weight[b, n] left[b]`` where ``places[b, n]`` is v, [rows, D]."""
    if impl == "reference":
        return reference.spread(weight, left, places, rows)
    return sparse.spread(weight, left, places, rows, impl)


pair_dot_op.fake(lambda left, right, places, impl: left.new_empty(places.shape))
pair_sum_op.fake(lambda weight, right, places, impl: right.new_empty(places.shape[0], right.shape[1]))
pair_spread_op.fake(lambda weight, left, places, rows, impl: left.new_empty(rows, left.shape[1]))

Gradients = dict[str, Tensor | None]


def _dot_gradient(
    left: Tensor, right: Tensor, places: Tensor, impl: str, needs: frozenset[str], grad: Tensor
) -> Gradients:
    out: Gradients = {}
    if "left" in needs:
        out["left"] = pair_sum_op(grad, right, places, impl)
    if "right" in needs:
        out["right"] = pair_spread_op(grad, left, places, len(right), impl)
    return out


def _sum_gradient(
    weight: Tensor, right: Tensor, places: Tensor, impl: str, needs: frozenset[str], grad: Tensor
) -> Gradients:
    out: Gradients = {}
    if "weight" in needs:
        out["weight"] = pair_dot_op(grad, right, places, impl)
    if "right" in needs:
        out["right"] = pair_spread_op(weight, grad, places, len(right), impl)
    return out


def _spread_gradient(
    weight: Tensor, left: Tensor, places: Tensor, rows: int, impl: str, needs: frozenset[str], grad: Tensor
) -> Gradients:
    out: Gradients = {}
    if "weight" in needs:
        out["weight"] = pair_dot_op(left, grad, places, impl)
    if "left" in needs:
        out["left"] = pair_sum_op(weight, grad, places, impl)
    return out


pair_dot_op.gradient(_dot_gradient)
pair_sum_op.gradient(_sum_gradient)
pair_spread_op.gradient(_spread_gradient)
