"""What temporal layers share: one call signature, masks, and an encoding of timestamps."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

DAY = 86_400.0


class TemporalLayer(nn.Module):
    """Turns histories into one vector each: ``layer(x, mask, time, query)`` -> [B, D].

    Every layer takes ``x`` [B, T, D] (states of the videos, oldest first), ``mask`` [B, T] bool (True where real; real
    steps come first, as ``graph.histories`` gives them), ``time`` [B, T] (UTC seconds, or places in the list) or None,
    and ``query`` [B, D] or None (what the history is asked for; layers that have no use for it ignore it). What stands
    in padded steps cannot matter, and a history of no steps gives 0.

    Attributes:
        has_states: the layer is causal and also gives a state at every step, by :meth:`states`, so that one pass
            trains all steps.
        uses_query: the layer reads ``query``.
    """

    has_states: ClassVar[bool] = False
    uses_query: ClassVar[bool] = False

    def forward(self, x: Tensor, mask: Tensor, time: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        """The history as one vector, [B, D]."""
        raise NotImplementedError

    def states(self, x: Tensor, mask: Tensor, time: Tensor | None = None) -> Tensor:
        """The state after each step, [B, T, D], from that step and earlier ones only; of causal layers."""
        raise NotImplementedError(f"{type(self).__name__} gives one vector a history, not a state at every step")


class CausalLayer(TemporalLayer):
    """A temporal layer with a state at every step; the history's vector is the state at the last real step."""

    has_states: ClassVar[bool] = True

    def forward(self, x: Tensor, mask: Tensor, time: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        """The state at the last real step, [B, D]; 0 for an empty history. ``query`` is ignored."""
        return last_step(self.states(x, mask, time), mask)


def lengths(mask: Tensor) -> Tensor:
    """Real steps of each row, [B] int64.

    Raises:
        ValueError: a real step after a padded one.
    """
    length = mask.sum(1)
    step = torch.arange(mask.shape[1], device=mask.device)
    # a traced graph cannot ask: who exports a layer sees to it
    if not torch.compiler.is_exporting() and not torch.equal(mask, step < length.unsqueeze(1)):
        raise ValueError("mask must be True for the first steps of each row and False after: padding goes last")
    return length


def last_step(states: Tensor, mask: Tensor) -> Tensor:
    """The state at the last real step, [B, D] from [B, T, D]; 0 for a row without one."""
    length = mask.sum(1)
    if not states.shape[1]:
        return states.new_zeros(states.shape[0], states.shape[2])
    last = states[torch.arange(states.shape[0], device=states.device), (length - 1).clamp_min(0)]
    return last * (length > 0).unsqueeze(1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where ``mask`` is True; exactly 0 elsewhere, also in a row of no True."""
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask


def age(time: Tensor | None, mask: Tensor, unit: float) -> Tensor:
    """How long before the row's newest step each step was, in units, [B, T] float32; 0 where padded.

    Differences are formed in the type of ``time`` (float64 for UTC seconds, which float32 rounds to minutes).

    Args:
        time: [B, T] or None: steps back from the last one are counted, each one unit.
        mask: [B, T].
        unit: seconds a unit.
    """
    if time is None:
        step = torch.arange(mask.shape[1], device=mask.device)
        back = mask.sum(1, keepdim=True) - 1 - step
        return torch.where(mask, back, 0).float()
    lowest = torch.finfo(time.dtype).min if time.is_floating_point() else torch.iinfo(time.dtype).min
    if not mask.shape[1]:
        return mask.float()
    newest = time.masked_fill(~mask, lowest).amax(1, keepdim=True)
    return (torch.where(mask, newest - time, 0) / unit).float()


class TimeEncoding(nn.Module):
    """p(t): sines and cosines of a step's age, so that both yesterday and years ago can be told apart.

    With age a in units, p = [ln(1 + a), sin(a ω_i), cos(a ω_i)], ω_i = 2π / P_i, periods P_i spread geometrically
    from 2 units to ``longest``. No parameters.

    Args:
        dim: width of p, at least 3.
        unit: seconds a unit: a day for UTC times, 1 where times are places in a list.
        longest: longest period, in units.
    """

    frequency: Tensor

    def __init__(self, dim: int = 17, unit: float = DAY, longest: float = 3650.0) -> None:
        super().__init__()
        if dim < 3 or dim % 2 == 0 or not unit > 0 or not longest > 2:
            raise ValueError(f"TimeEncoding needs odd dim >= 3, unit > 0 and longest > 2; got {dim}, {unit}, {longest}")
        self.dim, self.unit = dim, unit
        half = (dim - 1) // 2
        periods = 2 * (longest / 2) ** (torch.arange(half) / max(half - 1, 1))
        self.register_buffer("frequency", 2 * math.pi / periods, persistent=False)

    def forward(self, time: Tensor | None, mask: Tensor) -> Tensor:
        """[B, T, dim]; see :func:`age` for ``time`` None."""
        a = age(time, mask, self.unit).unsqueeze(-1)
        angle = a * self.frequency
        return torch.cat([a.log1p(), angle.sin(), angle.cos()], -1)
