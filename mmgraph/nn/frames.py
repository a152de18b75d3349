"""Trained pooling of stored frame vectors [B, T, D]: temporal convolution, and attention over frames.

Encoders are frozen and keep a video's frames as they are; these layers turn them into one vector a video. Frames
that a clip does not have are padding at the end, named by a mask; they never change a result. A video without any
frame gives zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mean_over_time(frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """[B, T, D] -> [B, D]: the mean over *time* of the real steps; zeros where there is none.

    Args:
        frames: [B, T, D].
        mask: [B, T] bool, True for real steps; None: all are.
    """
    if mask is None:
        return frames.mean(1)
    weight = mask.to(frames.dtype).unsqueeze(-1)
    # Not frames * weight: what lies in the padding may be anything, NaN too.
    real = frames.masked_fill(~mask.unsqueeze(-1), 0)
    return real.sum(1) / weight.sum(1).clamp(min=1)


class TemporalConv(nn.Module):
    """Convolutions over time, then the mean over time.

    Each layer is a 3-d convolution with kernel (3, 1, 1), stride (2, 1, 1) and padding (1, 0, 0) over frames, as
    C3D-type networks use it for time (Tran et al., CVPR 2018, https://arxiv.org/abs/1711.11248); over frame
    *vectors* height and width are 1, so it is a 1-d convolution with the same weights. After each: ReLU. A clip of
    L frames has ceil(L / 2) steps after a layer; one frame stays one step, so clips of one frame and batches of
    one video need no special case.

    The mean is over time. (Sample code in circulation averages channels, squeezes the batch away, and builds an
    untrained network for each video.)

    Args:
        in_dim: width D of frame vectors.
        out_dim: width of the result.
        hidden_dims: widths between, one layer more for each.
    """

    def __init__(self, in_dim: int, out_dim: int, hidden_dims: Sequence[int] = ()) -> None:
        super().__init__()
        widths = [in_dim, *hidden_dims, out_dim]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel_size=3, stride=2, padding=1) for before, after in pairwise(widths)
        )

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames [B, T, D], mask [B, T] (True: real; real frames come first) -> [B, out_dim].

        Raises:
            ValueError: ``frames`` is not [B, T, D], or the mask's shape is not [B, T].
        """
        mask = checked_mask(frames, mask)
        steps = frames.masked_fill(~mask.unsqueeze(-1), 0).transpose(1, 2)
        lengths = mask.sum(1)
        for convolution in self.convolutions:
            steps = torch.relu(convolution(steps))
            lengths = (lengths + 1) // 2
            mask = torch.arange(steps.shape[2], device=steps.device) < lengths.unsqueeze(1)
            steps = steps.masked_fill(~mask.unsqueeze(1), 0)  # the bias has filled the padding
        return mean_over_time(steps.transpose(1, 2), mask)


class FrameAttention(nn.Module):
    """Attention pooling over frames.

    a_t = softmax_t(q · tanh(W x_t)) over the real frames, output = V (sum_t a_t x_t): attention-based multiple
    instance pooling (Ilse et al., ICML 2018, https://arxiv.org/abs/1802.04712).

    Args:
        in_dim: width D of frame vectors.
        out_dim: width of the result.
        hidden_dim: width of the scores' hidden layer.
    """

    def __init__(self, in_dim: int, out_dim: int, hidden_dim: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_dim, hidden_dim)
        self.query = nn.Linear(hidden_dim, 1, bias=False)
        self.output = nn.Linear(in_dim, out_dim, bias=False)

    def weights(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T] attention: rows sum to 1, or are zero where a video has no frame."""
        mask = checked_mask(frames, mask)
        clean = frames.masked_fill(~mask.unsqueeze(-1), 0)
        scores = self.query(torch.tanh(self.hidden(clean))).squeeze(-1)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return torch.softmax(scores, dim=1) * mask.any(1, keepdim=True)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames [B, T, D], mask [B, T] (True: real) -> [B, out_dim]; zeros for a video without frames."""
        mask = checked_mask(frames, mask)
        clean = frames.masked_fill(~mask.unsqueeze(-1), 0)
        return self.output((self.weights(frames, mask).unsqueeze(-1) * clean).sum(1))


def checked_mask(frames: Tensor, mask: Tensor | None) -> Tensor:
    """The mask [B, T], all True when None.

    Raises:
        ValueError: shapes that do not fit; a matrix of flat frames must be unflattened first.
    """
    if frames.dim() != 3:
        raise ValueError(f"frames must be [B, T, D], got {tuple(frames.shape)}; flat rows: values.unflatten(1, (T, D))")
    if mask is None:
        return torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
    if mask.shape != frames.shape[:2]:
        raise ValueError(f"frames {tuple(frames.shape)} need a mask [B, T], got {tuple(mask.shape)}")
    return mask.bool()
