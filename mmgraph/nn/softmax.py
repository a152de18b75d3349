"""Cross-entropy over a large catalogue: full, without keeping the logits, and sampled."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 256  # rows of logits formed at once: for 20,000 videos 20 MB, near the caches


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
        device = state.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else state.dtype
        narrow, total = table.to(low), state.new_zeros(())
        for start in range(0, len(state), BLOCK):
            rows = slice(start, start + BLOCK)
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


def sampled_cross_entropy(state: Tensor, table: Tensor, target: Tensor, negative: Tensor, log_count: Tensor) -> Tensor:
    """Softmax cross-entropy with the other videos' mass estimated from a sample shared by the rows (logQ correction).

    −ln( e^{s_y} / (e^{s_y} + Σ_j e^{s_j − ln c_j}) ), over the sampled j ≠ y, c_j the expected number of draws of j
    (n q_j for n draws from q). The sum is an unbiased estimate of Σ_{j≠y} e^{s_j}, so with every video drawn once and
    c = 1 it equals :func:`softmax_cross_entropy`. Bengio & Senécal, 2008; the positive is certain, not drawn, and
    is not corrected (Khrylchenko et al., RecSys 2025, https://arxiv.org/abs/2507.09331).

    Args:
        state: [N, D].
        table: [V, D].
        target: [N] int64.
        negative: [n] int64 rows drawn from q with replacement.
        log_count: [n], ln c of each draw.
    """
    if not len(state):
        return state.sum() + table.sum() * 0.0
    own = (state * table[target]).sum(-1, keepdim=True)
    other = state @ table[negative].T - log_count
    other = other.masked_fill(negative == target.unsqueeze(1), -torch.inf)
    return (torch.cat([own, other], 1).logsumexp(1) - own.squeeze(1)).mean()
