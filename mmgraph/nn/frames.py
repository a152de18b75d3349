"""Frame vectors of a clip become one row: convolutions over time, then the mean over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mmgraph.ops import checks


class TemporalConv(nn.Module):
    """Convolutions over time, then the mean over *time*.

    Each layer is a 3-d convolution with kernel (3, 1, 1), stride (2, 1, 1) and padding (1, 0, 0) over frames, as
    C3D-type networks use it for time (Tran et al., CVPR 2018, https://arxiv.org/abs/1711.11248); over frame
    *vectors* height and width are 1, so it is a 1-d convolution with the same weights. After each: ReLU. A clip of
    L frames has ceil(L / 2) steps after a layer; one frame stays one step, so clips of one frame and batches of
    one video need no special case.

    (Sample code in circulation averages channels, squeezes the batch away, and builds an untrained network for each
    video.)

    Args:
        frames: T, how many frames a row holds.
        in_dim: width of a row, T · D: the frames one after the other, as ``extract(…, frames="flat")`` keeps them.
        out_dim: width of the result.
        hidden_dims: widths between, one layer more for each.

    Raises:
        TypeError, ValueError: widths below 1, or a row that does not hold a whole number of frame vectors.
    """

    def __init__(self, frames: int, in_dim: int, out_dim: int, hidden_dims: Sequence[int] = ()) -> None:
        super().__init__()
        checks.count(in_dim, "in_dim")
        for width in (*hidden_dims, out_dim):
            checks.count(width, "out_dim")
        if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1 or in_dim % frames:
            raise ValueError(f"frames must be a number of frame vectors that a row of {in_dim} holds, got {frames!r}")
        self.frames = frames
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel_size=3, stride=2, padding=1)
            for before, after in pairwise([in_dim // frames, *hidden_dims, out_dim])
        )

    def forward(self, rows: Tensor) -> Tensor:
        """[B, out_dim] of rows [B, T · D]."""
        steps = rows.unflatten(1, (self.frames, -1)).transpose(1, 2)
        for convolution in self.convolutions:
            steps = torch.relu(convolution(steps))
        return steps.mean(2)
