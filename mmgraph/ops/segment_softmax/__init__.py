"""Softmax over the edges of each row, alone or with the weighted sum that follows it: graph attention."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.dispatch import resolve
from mmgraph.ops.library import Op
from mmgraph.ops.operand import Operand
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
    return segment_softmax_op(a.indptr, flat, name).reshape(logits.shape)


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
        out, _ = attend_op(Operand.pattern(a), flat, wide, name)
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


@Op
def segment_softmax_op(indptr: Tensor, logits: Tensor, impl: str) -> Tensor:
    """Weights [E, H]."""
    return _backend(impl).softmax(indptr, logits)


@Op
def segment_softmax_backward_op(indptr: Tensor, alpha: Tensor, grad: Tensor, impl: str) -> Tensor:
    """The gradient of logits [E, H]."""
    return _backend(impl).softmax_backward(indptr, alpha, grad)


@Op
def attend_op(a: Operand, logits: Tensor, x: Tensor, impl: str) -> tuple[Tensor, Tensor]:
    """Sums [R, H, D], and [2, R, H] each row's largest logit and sum of exponentials."""
    return _backend(impl).attend(a.indptr, a.indices, logits, x)


@Op
def attend_backward_op(
    a: Operand, logits: Tensor, x: Tensor, out: Tensor, stats: Tensor, grad: Tensor, impl: str
) -> tuple[Tensor, Tensor]:
    """The gradients of logits and ``x``."""
    return _backend(impl).attend_backward(a, logits, x, out, stats, grad)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


segment_softmax_op.fake(lambda indptr, logits, impl: _like(logits))
segment_softmax_backward_op.fake(lambda indptr, alpha, grad, impl: _like(alpha))
attend_backward_op.fake(lambda a, logits, x, *_: (_like(logits), _like(x)))


@attend_op.fake
def _(a, logits, x, impl):
    wide = torch.promote_types(logits.dtype, torch.float32)
    return x.new_empty(a.shape[0], *x.shape[1:]), logits.new_empty(2, a.shape[0], logits.shape[1], dtype=wide)


def _softmax_gradient(indptr, logits, impl, alpha, needs, grad):
    return {"logits": segment_softmax_backward_op(indptr, alpha, grad.contiguous(), impl)}


def _attend_gradient(a, logits, x, impl, out, stats, needs, grad, _):
    grad_logits, grad_x = attend_backward_op(a, logits, x, out, stats, grad.contiguous(), impl)
    return {"logits": grad_logits, "x": grad_x}


segment_softmax_op.gradient(_softmax_gradient, unread=lambda needs: {"logits"}, outputs=True)
attend_op.gradient(_attend_gradient, outputs=True, constant=(1,))
