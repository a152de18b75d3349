"""The one place where samplers draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_generator(generator: object) -> None:
    """Refuses what is no generator, also where nothing has to be drawn.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")


def uniform(size: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Uniform float64 numbers in [0, 1), drawn where the generator lives and moved to ``device``.

    A generator of the CPU gives the same draws on every device.

    Raises:
        TypeError: no generator: without one the draw could not be repeated.
    """
    check_generator(generator)
    return torch.rand(size, dtype=torch.float64, generator=generator, device=generator.device).to(device)
