"""Softmax cross-entropy: over the catalogue without keeping the logits, over a sample, over the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import checks, log_q
from mmgraph.ops.dispatch import autocast_type

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

BLOCK = 256  # rows of logits formed at once: for 20,000 videos 20 MB, near the caches
LARGE = 1 << 25  # logits formed at once where launching a kernel costs more than a cache saves


def block_rows(table: Tensor) -> int:
    """How many rows of logits over a table are formed at once."""
    return BLOCK if table.device.type == "cpu" else max(BLOCK, LARGE // max(len(table), 1))


def softmax_cross_entropy(state: Tensor, table: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of −ln softmax(state · tableᵀ)[target], over all rows of the table.

    Logits are formed in blocks of rows, and their gradient at once in the forward pass, so that memory does not
    grow with N · V and each block is read while in cache. The result and both gradients are those of
    ``F.cross_entropy(state @ table.T, target)``. Under autocast the three matrix products of a block run in the
    autocast type (bf16 is about three times as fast on a CPU that has it); the softmax itself stays in float32.

    Args:
        state: [N, D].
        table: [V, D].
        target: [N] int64 rows of the table.

    Returns:
        Scalar; 0 (with gradient 0) when N is 0.
    """
    state = checks.numbers(state, (None, None), "state")
    table = checks.numbers(table, (None, state.shape[1]), "table", beside="state")
    target = checks.rows(target, len(table), "target")
    if target.shape != state.shape[:1]:
        raise ValueError(f"target must be [{len(state)}], a row of the table for each state, got {list(target.shape)}")
    if not len(state):
        return state.sum() + table.sum() * 0.0
    with_type = state.float() if state.dtype in (torch.bfloat16, torch.float16) else state
    return _FullSoftmax.apply(with_type, table, target)  # type: ignore[return-value]


class _FullSoftmax(torch.autograd.Function):
    """Forward computes the loss and, where wanted, both gradients; backward scales them."""

    @staticmethod
    def forward(ctx, state: Tensor, table: Tensor, target: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_state = torch.empty_like(state) if wanted else None
        grad_table = torch.zeros_like(table) if wanted else None
        low = autocast_type(state) or state.dtype
        narrow, total = table.to(low), state.new_zeros(())
        size = block_rows(table)
        for start in range(0, len(state), size):
            rows = slice(start, start + size)
            block, own = state[rows].to(low), target[rows].unsqueeze(1)
            logits = (block @ narrow.T).to(state.dtype)
            logits -= logits.amax(1, keepdim=True)
            chosen = logits.gather(1, own)
            logits.exp_()
            mass = logits.sum(1, keepdim=True)
            total += (mass.log() - chosen).sum()
            if grad_state is not None and grad_table is not None:
                logits /= mass * len(state)
                logits.scatter_add_(1, own, logits.new_full(own.shape, -1 / len(state)))
                logits = logits.to(low)
                grad_state[rows] = logits @ narrow
                grad_table += logits.T @ block
        if wanted:
            ctx.save_for_backward(grad_state, grad_table)
        return total / len(state)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_state, grad_table = ctx.saved_tensors
        return grad_state * grads[0], grad_table * grads[0], None


def log_mass(
    scores: Tensor, scale: float | Tensor = 1.0, bias: Tensor | float = 0.0, without: Tensor | None = None
) -> Tensor:
    """ln Σ_{j ≠ without_b} e^{scale_b · s_bj + bias_j} of each row, [B]; -inf, without gradient, where none is.

    One matrix besides the scores is written and kept, in few passes: on a CPU an in-batch softmax by ``masked_fill``
    and ``logsumexp`` spends more time in these than in its matrix products.

    Args:
        scores: [B, N]; -inf takes one out.
        scale: positive, a number or [B]; gets no gradient.
        bias: [N], such as the logarithm of how often a column counts; -inf takes it out. Gets no gradient.
        without: [B] int64, the column that each row leaves out; None: nothing.
    """
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    scale, bias = (x.detach().to(scores) if isinstance(x, Tensor) else scores.new_full((), x) for x in (scale, bias))
    return _LogMass.apply(scores, scale.reshape(-1, 1), bias, without)  # type: ignore[return-value]


class _LogMass(torch.autograd.Function):
    """Forward keeps e^{scaled score − the row's largest} and its sum; backward scales the former."""

    @staticmethod
    def forward(ctx, scores: Tensor, scale: Tensor, bias: Tensor, without: Tensor | None) -> Tensor:
        gains = torch.addcmul(bias, scores, scale)
        if without is not None:
            gains.scatter_(1, without.unsqueeze(1), -torch.inf)
        top = gains.amax(1, keepdim=True)
        top = torch.where(top == -torch.inf, 0.0, top)
        mass = gains.sub_(top).exp_().sum(1, keepdim=True)
        ctx.save_for_backward(gains, torch.where(mass == 0, 0.0, scale / mass))
        return (mass.log() + top).squeeze(1)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gains, share = ctx.saved_tensors
        return gains * (share * grads[0].unsqueeze(1)), None, None, None


class SoftmaxSample(NamedTuple):
    """What a softmax over a sample compares: s = w ŷ + bias, w the sharpness 1/τ, a number or one for each example [B].

    Attributes:
        positive: scores of the chosen videos, [B].
        positive_bias: [B].
        other: scores of the sample, [B, N].
        bias: [N].
        without: [B] int64, the column of the sample that is an example's own video; None where there is none.
    """

    positive: Tensor
    positive_bias: Tensor
    other: Tensor
    bias: Tensor
    without: Tensor | None

    @classmethod
    def in_batch(cls, scores: Tensor, positive: Tensor, log_q: Tensor) -> SoftmaxSample:
        """The batch's videos: each counts as often as the batch names it, and against its own users not at all.

        Args:
            scores: [B, n], of the videos that the batch names, each once.
            positive: [B] int64, the column of each example's own video.
            log_q: to take off each video's scores, [n].
        """
        often = torch.zeros_like(scores[0]).scatter_add_(0, positive, torch.ones_like(scores[:, 0]))
        own = scores.gather(1, positive.unsqueeze(1)).squeeze(1)
        return cls(own, -log_q[positive], scores, often.log() - log_q, positive)

    def own(self, sharpness: float | Tensor) -> Tensor:
        """s⁺ [B]."""
        return self.positive * sharpness + self.positive_bias

    def log_mass(self, sharpness: float | Tensor) -> Tensor:
        """ln Σ_j e^{s_j} [B] over the sample; -inf where there is none."""
        return log_mass(self.other, sharpness, self.bias, self.without)


def in_batch_nll(state: Tensor, video: Tensor, positive: Tensor, log_q: Tensor | None = None) -> Tensor:
    """−mean ln softmax of each state's own video among those that the batch chose, by dot products.

    Args:
        state: [B, D].
        video: rows of the batch's videos, each once, [n, D].
        positive: [B] int64 rows of ``video``: a video that the batch names twice counts twice, and is not its own
            negative.
        log_q: correction to take off each video's scores (:func:`in_batch_log_q`), [n].
    """
    scores = state @ video.T
    sample = SoftmaxSample.in_batch(scores, positive, scores.new_zeros(len(video)) if log_q is None else log_q)
    own, mass = sample.own(1.0), sample.log_mass(1.0)
    return (torch.logaddexp(own, mass) - own).mean()


def in_batch_log_q(graph: MultimodalGraph, videos: Tensor) -> Tensor:
    """ln q of each video [B], q the chance that a random training pair of the graph holds it; one not chosen counts 1.

    What the in-batch softmax takes off its columns, since its negatives come in proportion to popularity (Yi et al.,
    RecSys 2019, https://doi.org/10.1145/3298689.3346996).
    """
    return log_q(graph.seen.transpose().degree(), videos)
