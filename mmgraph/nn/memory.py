"""What an epoch left behind about each user, saved with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UserMeans(nn.Module):
    """The mean of a value over each user's examples, of the last window of examples that is full.

    All of it lies in buffers: it moves with the model, is saved with it, and a resumed run goes on with the same
    numbers. Nothing is counted in evaluation mode.

    Args:
        num_users: U.
    """

    total: Tensor
    count: Tensor
    seen: Tensor
    mean: Tensor
    known: Tensor

    def __init__(self, num_users: int) -> None:
        super().__init__()
        for name in ("total", "count", "mean"):
            self.register_buffer(name, torch.zeros(num_users))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("known", torch.zeros(num_users, dtype=torch.bool))

    @torch.no_grad()
    def add(self, user: Tensor, value: Tensor, window: int) -> None:
        """Counts the values [B] of some examples' users [B].

        Args:
            user: rows, repeated where a user has several examples.
            value: floating point.
            window: how many examples fill a window; then ``mean`` [U] and ``known`` [U] are those of this one, and the
                next begins.
        """
        if not self.training:
            return
        self.total.index_add_(0, user, value.to(self.total.dtype))
        self.count.index_add_(0, user, torch.ones_like(value, dtype=self.count.dtype))
        self.seen += len(user)
        full = self.seen >= window  # a tensor: the device is not waited for
        self.mean.copy_(torch.where(full, self.total / self.count.clamp_min(1), self.mean))
        self.known.copy_(torch.where(full, self.count > 0, self.known))
        for kept in (self.total, self.count, self.seen):
            kept.masked_fill_(full, 0)
