"""The kernels in C, where the install could compile them.

Plain C over arrays, called through ctypes. Without it (no C compiler when mmgraph was installed) each op has a way over
torch alone.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

KINDS = {torch.float32: "f32", torch.bfloat16: "bf16"}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there are none or they cannot be loaded."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # made for another machine, or for another OpenMP than torch's
                return None
    return None


def call(name: str, dtype: torch.dtype, *arguments: Tensor | int | None) -> int:
    """Runs a kernel on torch's number of threads.

    Args:
        name: of the kernel, without its type.
        dtype: of the rows it reads.
        arguments: CPU tensors, which must be contiguous, and int64 numbers; None is NULL.
    """
    given = (
        ctypes.c_int64(a) if isinstance(a, int) else ctypes.c_void_p(None if a is None else a.data_ptr())
        for a in arguments
    )
    return getattr(library(), f"{name}_{KINDS[dtype]}")(*given, ctypes.c_int(torch.get_num_threads()))
