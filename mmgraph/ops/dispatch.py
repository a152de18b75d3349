"""Which implementation an op runs."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

Impl = Literal["auto", "reference", "cpu", "triton"]


def resolve(impl: str, x: Tensor) -> str:
    """The implementation for ``x``: "auto" is "cpu" on CPU, "triton" on CUDA when installed, else
    "reference".

    Raises:
        ValueError: an unknown name, or "cpu" for a tensor that is not on CPU.
    """
    if impl == "auto":
        if x.device.type == "cpu":
            return "cpu"
        return "triton" if x.device.type == "cuda" and _triton() else "reference"
    if impl not in ("reference", "cpu", "triton"):
        raise ValueError(f"impl must be 'auto', 'reference', 'cpu' or 'triton', got {impl!r}")
    if impl == "cpu" and x.device.type != "cpu":
        raise ValueError(f"impl='cpu' needs tensors on CPU, got {x.device}")
    return impl


@cache
def _triton() -> bool:
    return find_spec("triton") is not None


def autocast_type(x: Tensor) -> torch.dtype | None:
    """The type that ``torch.autocast`` computes in on the device of ``x``; None where it is off or not known there."""
    kind = x.device.type
    # the first two are known: torch 2.11 cannot ask while it compiles
    known = (kind in ("cpu", "cuda") or torch.amp.is_autocast_available(kind)) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if known else None
