"""The one place where samplers draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(size: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Uniform float64 numbers in [0, 1).

    Raises:
        TypeError: no generator: without one the draw could not be repeated.
        ValueError: a generator of another device.
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if generator.device.type != device.type:
        raise ValueError(f"generator is on {generator.device}, but what it draws for is on {device}")
    return torch.rand(size, dtype=torch.float64, generator=generator, device=device)
