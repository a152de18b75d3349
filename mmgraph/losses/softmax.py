"""Softmax cross-entropy: over the catalogue without keeping the logits, over a sample, over the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.losses.ranking import scored
from mmgraph.ops import checks, in_batch_logits, log_q
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


def sampled_softmax(
    positive: Tensor, negative: Tensor, log_q_positive: Tensor | None = None, log_q_negative: Tensor | None = None
) -> Tensor:
    """Softmax over the positive and sampled negatives, corrected for how they were sampled.

    −mean_b ln( e^{s_b} / (e^{s_b} + Σ_n e^{s_bn}) ), s = ŷ − ln q. With logQ it estimates the softmax over all videos
    when video j is drawn with chance q_j (Bengio and Senécal, 2008, https://doi.org/10.1109/TNN.2007.912312; in
    recommenders Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996). Uniform q cancels.

    Args:
        positive: scores of chosen videos, [B] or [B, 1].
        negative: scores of sampled videos, [B, N]; -inf takes one out.
        log_q_positive: ln q of the chosen videos, [B] or [B, 1]; no correction when None.
        log_q_negative: ln q of the sampled ones, broadcastable to [B, N].
    """
    positive, negative = scored(positive, negative)
    positive = positive.reshape(-1, 1)
    if log_q_positive is not None:
        positive = positive - log_q_positive.reshape(-1, 1)
    if log_q_negative is not None:
        negative = negative - log_q_negative
    logits = torch.cat([positive, negative], 1)
    return (logits.logsumexp(1) - logits[:, 0]).mean()


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


def in_batch_nll(state: Tensor, video: Tensor, videos: Tensor, counts: Tensor | None = None) -> Tensor:
    """−mean ln softmax of each state's own video among the batch's, with logQ correction where counts are given.

    Args:
        state, video: [B, D], row i of one belongs to row i of the other; scores are dot products.
        videos: which videos the rows are, [B]: one that the batch names twice is not its own negative.
        counts: how often each video was chosen, [V] (:func:`mmgraph.ops.in_batch_logits`).
    """
    logits = in_batch_logits(state @ video.T, videos, counts)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def in_batch_log_q(graph: MultimodalGraph, videos: Tensor) -> Tensor:
    """ln q of each video [B], q the chance that a random training pair of the graph holds it; one not chosen counts 1.

    What the in-batch softmax takes off its columns, since its negatives come in proportion to popularity (Yi et al.,
    RecSys 2019, https://doi.org/10.1145/3298689.3346996).
    """
    return log_q(graph.seen.transpose().degree(), videos)
