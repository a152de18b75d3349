"""The networks that a teacher's ranking is distilled into: a history to a user's row, features to a video's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HIDDEN = 128


class HistoryStudent(nn.Module):
    """A user's row from the rows of watched videos: (videos [B, T, D], mask [B, T], time [B, T]) -> [B, D].

    x = [Σ_j v_j / √n ; Σ_j w_j v_j / Σ_j w_j],  w_j = exp(−κ · events after j),  u = W x + MLP([x ; ln(1 + n)]). A user
    without events gets 0. The order of the events is read, their times are not; ``time`` is there so that every tower
    of a user is called alike.

    Args:
        dim: D.
        hidden: width of the MLP, whose last layer starts at 0.
    """

    def __init__(self, dim: int, hidden: int = _HIDDEN) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.tensor(-1.0))
        self.linear = nn.Linear(2 * dim, dim, bias=False)
        self.deep = nn.Sequential(nn.Linear(2 * dim + 1, hidden), nn.GELU(), nn.Linear(hidden, dim))
        nn.init.zeros_(self.deep[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.deep[2].bias)  # type: ignore[arg-type]

    def pooled(self, videos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, 2D] and n [B, 1]."""
        weight = mask.to(videos.dtype)
        count = weight.sum(1, keepdim=True)
        after = count - weight.cumsum(1)
        recent = weight * torch.exp(-F.softplus(self.decay) * after)
        total = (videos * weight.unsqueeze(2)).sum(1) / count.clamp_min(1).sqrt()
        last = (videos * recent.unsqueeze(2)).sum(1) / recent.sum(1, keepdim=True).clamp_min(1e-6)
        return torch.cat([total, last], 1), count

    def forward(self, videos: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        x, count = self.pooled(videos, mask)
        row = self.linear(x) + self.deep(torch.cat([x, torch.log1p(count)], 1))
        return row * (count > 0).to(row.dtype)


class ContentStudent(nn.Module):
    """A video's row from its features: (values [B, D_m], present [B]) of each modality -> [B, D].

    row = x W + b + MLP(x), x the standardised unit features, absent ones 0, and the present flags.

    Args:
        means, scales: of each modality's columns.
        weight: W [ΣD_m + M, D].
        bias: b [D].
        hidden: width of the MLP, whose last layer starts at 0; 0 for none.
    """

    def __init__(
        self, means: Sequence[Tensor], scales: Sequence[Tensor], weight: Tensor, bias: Tensor, hidden: int = 0
    ) -> None:
        super().__init__()
        for at, (mean, scale) in enumerate(zip(means, scales, strict=True)):
            self.register_buffer(f"mean_{at}", mean)
            self.register_buffer(f"scale_{at}", scale)
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.deep: nn.Sequential | None = None
        if hidden:
            self.deep = nn.Sequential(nn.Linear(len(weight), hidden), nn.GELU(), nn.Linear(hidden, weight.shape[1]))
            nn.init.zeros_(self.deep[2].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.deep[2].bias)  # type: ignore[arg-type]

    def inputs(self, *inputs: Tensor) -> Tensor:
        """x [B, ΣD_m + M]."""
        parts, flags = [], []
        for at, (values, present) in enumerate(zip(inputs[::2], inputs[1::2], strict=True)):
            flag = present.unsqueeze(1)
            x = (values - self.get_buffer(f"mean_{at}")) * self.get_buffer(f"scale_{at}")
            parts.append(torch.where(flag, F.normalize(x, dim=1), 0.0))  # whatever lies where nothing is
            flags.append(flag.to(values.dtype))
        return torch.cat([*parts, *flags], 1)

    def rows(self, x: Tensor) -> Tensor:
        """Rows [B, D] of inputs that :meth:`inputs` made."""
        out = x @ self.weight + self.bias
        return out if self.deep is None else out + self.deep(x)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.rows(self.inputs(*inputs))
