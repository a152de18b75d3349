"""Softmax over the edges of each row, alone or with the weighted sum that follows it: graph attention."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.dispatch import resolve
from mmgraph.ops.segment_softmax import cpu, reference

__all__ = ["attend", "segment_softmax"]


def segment_softmax(a: CSR, logits: Tensor, *, impl: str = "auto") -> Tensor:
    """``exp(l_e) / sum over the edges f of e's row of exp(l_f)``; differentiable once.

    Args:
        a: [R, C], only its pattern is read.
        logits: [E] or [E, H] (H heads), in the order of ``a.indices``. -inf switches an edge off; a row
            all of
            -inf gives zeros.
        impl: "auto", "reference", "cpu" or "triton".

    Returns:
        The shape and type of ``logits``.

    Raises:
        ValueError: not one logit an edge.
    """
    _check_logits(a, logits)
    name = resolve(impl, logits)
    flat = logits if logits.dim() == 2 else logits.unsqueeze(1)
    if name == "reference":
        return reference.softmax(a.indptr, flat).reshape(logits.shape)
    return torch.ops.mmgraph.segment_softmax(a.indptr, flat, name).reshape(logits.shape)


def attend(a: CSR, logits: Tensor, x: Tensor, *, impl: str = "auto") -> Tensor:
    """``y[i] = sum over the edges (i, j) of softmax_i(logits) · x[j]``: graph attention in one pass over
    the edges.

    As in GAT (Veličković et al., ICLR 2018, https://arxiv.org/abs/1710.10903) after its logits. The
    softmax is accumulated together with the sum; backward keeps two numbers a row and head and computes the
    weights again. Differentiable once, in ``logits`` and ``x``.

    Args:
        a: [R, C], only its pattern is read.
        logits: [E] or [E, H].
        x: [C, D], or [C, H, D] with H heads.
        impl: "auto", "reference", "cpu" or "triton".

    Returns:
        [R, D] or [R, H, D]; zero for a row without edges.

    Raises:
        ValueError: sizes do not fit.
    """
    _check_logits(a, logits)
    heads = logits.shape[1:]
    x = checks.numbers(x, None, "x", like=a)
    if x.dim() != logits.dim() + 1 or x.shape[0] != a.shape[1] or x.shape[1:-1] != heads:
        raise ValueError(
            f"A is {list(a.shape)} and logits {list(logits.shape)}: x must be [{a.shape[1]}, "
            f"{''.join(f'{h}, ' for h in heads)}D], got {list(x.shape)}"
        )
    name = resolve(impl, x)
    flat = logits if heads else logits.unsqueeze(1)
    wide = x if heads else x.unsqueeze(1)
    if name == "reference":
        out = reference.attend(a.indptr, a.indices, flat, wide)
    else:
        pattern = (a.indptr, a.indices, *a._transposed_pattern())
        out, _ = torch.ops.mmgraph.attend(*pattern, flat, wide, name)
    return out.reshape(a.shape[0], *heads, x.shape[-1])


def _check_logits(a: CSR, logits: Tensor) -> None:
    if not isinstance(a, CSR):
        raise TypeError(f"A must be a CSR, got {type(a).__name__}: CSR.from_edges makes one")
    checks.numbers(logits, None, "logits", like=a)
    if logits.dim() not in (1, 2) or logits.shape[0] != a.num_edges:
        raise ValueError(
            f"logits must be floating point [{a.num_edges}] or [{a.num_edges}, H], one an edge, "
            f"got {logits.dtype} {list(logits.shape)}"
        )


def _backend(name: str) -> ModuleType:
    if name == "triton":
        from mmgraph.ops.segment_softmax import triton

        return triton
    return cpu


@torch.library.custom_op("mmgraph::segment_softmax", mutates_args=())
def _segment_softmax(indptr: Tensor, logits: Tensor, impl: str) -> Tensor:
    return _backend(impl).softmax(indptr, logits)


@_segment_softmax.register_fake
def _(indptr, logits, impl):
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


@torch.library.custom_op("mmgraph::segment_softmax_backward", mutates_args=())
def _segment_softmax_backward(indptr: Tensor, alpha: Tensor, grad: Tensor, impl: str) -> Tensor:
    return _backend(impl).softmax_backward(indptr, alpha, grad)


@_segment_softmax_backward.register_fake
def _(indptr, alpha, grad, impl):
    return torch.empty_like(alpha, memory_format=torch.contiguous_format)


def _softmax_setup(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], output)
    ctx.impl = inputs[2]


def _softmax_grad(ctx, grad):
    indptr, alpha = ctx.saved_tensors
    back = torch.ops.mmgraph.segment_softmax_backward
    return None, back(indptr, alpha, grad.contiguous(), ctx.impl), None


_segment_softmax.register_autograd(_softmax_grad, setup_context=_softmax_setup)


@torch.library.custom_op("mmgraph::attend", mutates_args=())
def _attend(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_order: Tensor,
    logits: Tensor,
    x: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor]:
    return _backend(impl).attend(indptr, indices, logits, x)


@_attend.register_fake
def _(indptr, indices, t_indptr, t_indices, t_order, logits, x, impl):
    rows = indptr.shape[0] - 1
    wide = torch.promote_types(logits.dtype, torch.float32)
    return x.new_empty(rows, *x.shape[1:]), logits.new_empty(2, rows, logits.shape[1], dtype=wide)


@torch.library.custom_op("mmgraph::attend_backward", mutates_args=())
def _attend_backward(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    t_order: Tensor,
    logits: Tensor,
    x: Tensor,
    out: Tensor,
    stats: Tensor,
    grad: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor]:
    tensors = (indptr, indices, t_indptr, t_indices, t_order, logits, x, out, stats, grad)
    return _backend(impl).attend_backward(*tensors)


@_attend_backward.register_fake
def _(indptr, indices, t_indptr, t_indices, t_order, logits, x, out, stats, grad, impl):
    contiguous = torch.contiguous_format
    return (
        torch.empty_like(logits, memory_format=contiguous),
        torch.empty_like(x, memory_format=contiguous),
    )


def _attend_setup(ctx, inputs, output):
    *tensors, ctx.impl = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])


def _attend_grad(ctx, grad, _):
    if grad is None:
        return (None,) * 8
    back = torch.ops.mmgraph.attend_backward
    grad_logits, grad_x = back(*ctx.saved_tensors, grad.contiguous(), ctx.impl)
    return None, None, None, None, None, grad_logits, grad_x, None


_attend.register_autograd(_attend_grad, setup_context=_attend_setup)
