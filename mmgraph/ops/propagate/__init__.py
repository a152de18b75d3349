"""K layers of linear propagation and their weighted sum, for the rows that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.dispatch import autocast_type, resolve
from mmgraph.ops.operand import Operand
from mmgraph.ops.propagate import reference
from mmgraph.ops.propagate.op import propagate_op
from mmgraph.ops.spmm import check_operand
from mmgraph.ops.spmm.matmul import whole_is_sooner

__all__ = ["propagate"]

# Rows that hold more of the edges than this are taken from the full product: gathering their edges would
# cost more than it saves (measured on tiktok and gowalla, 2 threads: the two meet near 0.4).
_DENSE_SHARE = 0.4


@overload
def propagate(
    a: CSR,
    x: Tensor,
    num_layers: int,
    *,
    weights: Tensor | Sequence[float] | None = None,
    rows: Tensor | None = None,
    with_input: Literal[False] = False,
    mask: Tensor | None = None,
    storage: torch.dtype | None = None,
    impl: str = "auto",
) -> Tensor: ...


@overload
def propagate(
    a: CSR,
    x: Tensor,
    num_layers: int,
    *,
    weights: Tensor | Sequence[float] | None = None,
    rows: Tensor,
    with_input: Literal[True],
    mask: Tensor | None = None,
    storage: torch.dtype | None = None,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def propagate(
    a: CSR,
    x: Tensor,
    num_layers: int,
    *,
    weights: Tensor | Sequence[float] | None = None,
    rows: Tensor | None = None,
    with_input: bool = False,
    mask: Tensor | None = None,
    storage: torch.dtype | None = None,
    impl: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``y = sum over k = 0..K of weights[k] · Aᵏ x``, or some of its rows; exact.

    LightGCN's propagation (He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126) with the mean of
    the layers by default. The map is linear, so backward keeps no layer: it runs the same recurrence on the
    gradient in Horner form, ``Aᵀ(Aᵀ(Aᵀ w₃g + w₂g) + w₁g) + w₀g``. With ``rows`` the last layer is computed
    for these rows only, and the first product of the backward starts from them. Differentiable in ``x`` and
    in ``weights``.

    Args:
        a: [N, N].
        x: [N, D], or [N, M, D]: several right-hand sides side by side (modalities that share a graph).
        num_layers: K, 0 or more.
        weights: K + 1 numbers, or a tensor [K + 1] that may require a gradient; the mean by default. ``[0,
            …, 0, 1]`` is the last layer alone.
        rows: [B] integers: only these rows of the result, repeats allowed.
        with_input: also return ``x[rows]``. A look-up of one's own gives the same, but its gradient is a second table
            of the size of ``x`` to fill and to add; here it joins that of the layers.
        mask: [E] as in :func:`mmgraph.ops.spmm`, one mask for all layers.
        storage: the type that layers are kept in between products, e.g. torch.bfloat16: half the memory
            traffic, results off by about 1e-2. Sums stay in float32 and the result has the type of ``x``.
            None is exact, except under ``torch.autocast``, where it is autocast's type.
        impl: as in :func:`mmgraph.ops.spmm`.

    Returns:
        [N, D], or [B, D] with ``rows``; the middle dimension of ``x`` is kept. With ``with_input`` two of them.

    Raises:
        TypeError: rows are not whole numbers, or numbers not floating point.
        ValueError: sizes or devices do not fit, a row lies outside A, ``with_input`` without ``rows``, or the weights
            of ``a`` require a gradient (use :func:`mmgraph.ops.spmm`, layer by layer, for attention).
    """
    check_operand(a, x)
    if a.shape[0] != a.shape[1]:
        raise ValueError(f"propagation needs a square matrix, got {list(a.shape)}")
    if with_input and rows is None:
        raise ValueError("with_input returns x[rows]: it needs rows")
    num_layers = checks.count(num_layers, "num_layers", 0)
    rows = None if rows is None else checks.rows(rows, a.shape[0], "rows", like=x)
    if storage is not None and not (isinstance(storage, torch.dtype) and storage.is_floating_point):
        raise TypeError(f"storage must be a floating point torch.dtype, got {storage!r}")
    if any(part is not None and part.requires_grad for part in (a.values, a.row_scale, a.col_scale)):
        raise ValueError("propagate gives no gradient to the weights of edges: call spmm layer by layer")
    if weights is None:
        weights = [1.0 / (num_layers + 1)] * (num_layers + 1)
    if len(weights) != num_layers + 1:
        raise ValueError(f"{num_layers} layers need {num_layers + 1} weights, got {len(weights)}")
    if isinstance(weights, Tensor):
        weights = checks.numbers(weights, (num_layers + 1,), "weights", like=x)
    elif not all(isinstance(weight, (int, float)) for weight in weights):
        raise TypeError(f"weights must be numbers or a tensor, got {weights!r}")
    name = resolve(impl, x)
    storage = autocast_type(x) if storage is None else storage
    if mask is not None:
        mask = checks.numbers(mask, (a.num_edges,), "mask", like=a, bools=True)
        full = a.weights()
        a = a.with_values(mask.to(x.dtype) if full is None else full * mask.to(full.dtype), False)
    if name == "reference":
        out = reference.propagate(a, x, weights, rows)
        return (out, x[rows]) if with_input else out
    if rows is not None and _from_whole(a, rows):
        whole = propagate(a, x, num_layers, weights=weights, storage=storage, impl=impl).index_select(0, rows)
        return (whole, x.index_select(0, rows)) if with_input else whole
    learned = weights if isinstance(weights, Tensor) else None
    fixed = [] if isinstance(weights, Tensor) else [float(weight) for weight in weights]
    parts = propagate_op(Operand.of(a), x.flatten(1), learned, fixed, rows, with_input, name, storage)
    out, own = (part.reshape(-1, *x.shape[1:]) for part in parts)
    return (out, own) if with_input else out


def _from_whole(a: CSR, rows: Tensor) -> bool:
    """Whether rows of the last layer are taken from the whole of it. Where it is traced, the op finds their edges."""
    if whole_is_sooner(a.num_edges, rows):
        return True
    return not torch.compiler.is_compiling() and bool(a.degree()[rows].sum() > _DENSE_SHARE * a.num_edges)
