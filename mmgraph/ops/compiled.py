"""The kernels in C, where the install could compile them.

Plain C over arrays, called through ctypes. Without it (no C compiler when mmgraph was installed) each op has a way over
torch alone.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

_VERSION = 2  # as in kernel.c
_log = logging.getLogger(__name__)
LEVELS = ("baseline", "AVX2 (x86-64-v3)", "AVX-512 (x86-64-v4)")
KINDS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class Argument(NamedTuple):
    """What a kernel takes at one place: contiguous CPU memory of one type, or a number."""

    name: str
    dtype: torch.dtype | None
    """Of the tensor; None: that of the rows the kernel is called for."""
    optional: bool = False
    """NULL will do."""
    number: bool = False
    """An int64, no tensor."""


def _number(name: str) -> Argument:
    return Argument(name, None, number=True)


def _product(result: torch.dtype) -> tuple[Argument, ...]:
    return (
        _number("rows"),
        Argument("which", torch.int64, True),
        Argument("indptr", torch.int64),
        Argument("indices", torch.int32),
        Argument("values", torch.float32, True),
        Argument("slot", torch.int32, True),
        Argument("x", None),
        Argument("plus_slot", torch.int32, True),
        Argument("plus", result, True),
        Argument("out", result),
        _number("width"),
        _number("edges"),
    )


# the prototypes in kernel.c, in their order; `level` and `threads` come last in all of them
DECLARED = {
    "spmm_to_f32": _product(torch.float32),
    "spmm_to_bf16": _product(torch.bfloat16),
    "edge_dot": (
        _number("rows"),
        Argument("indptr", torch.int64),
        Argument("indices", torch.int32),
        *(Argument(name, None) for name in ("left", "right", "out")),
        _number("width"),
        _number("edges"),
    ),
    "topk": (
        _number("rows"),
        Argument("scores", None),
        _number("width"),
        _number("k"),
        Argument("which", torch.int64, True),
        Argument("indptr", torch.int64, True),
        Argument("indices", torch.int32, True),
        Argument("best", torch.float32),
        Argument("column", torch.int64),
    ),
    "scan": (
        _number("rows"),
        Argument("left", torch.float32),
        Argument("table", None),
        Argument("out", None),
        _number("width"),
        _number("stride"),
        _number("columns"),
    ),
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there are none, they cannot be loaded, or they are of another version; of the
    last a warning says what to do."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.exists():
            try:
                found = ctypes.CDLL(str(path))
            except OSError:  # made for another machine, or for another OpenMP than torch's
                return None
            version = getattr(found, "kernel_version", int)()
            if version != _VERSION:
                _log.warning(
                    "%s holds kernels of version %s, this code calls version %s: torch's own loops are used, which are "
                    "slower; install mmgraph again to compile them",
                    *(path, version, _VERSION),
                )
                return None
            return found
    return None


@cache
def level() -> int:
    """The instruction set that the kernels use here: an index into ``LEVELS``."""
    found = library()
    return 0 if found is None else found.kernel_level()


def call(name: str, dtype: torch.dtype, *arguments: Tensor | int | None, at: int | None = None) -> int:
    """Runs a kernel on torch's number of threads.

    Args:
        name: of the kernel, without its type.
        dtype: of the rows it reads.
        arguments: as declared.
        at: the level, one that this machine has; None is the best.

    Raises:
        TypeError: not what the kernel was declared for; nothing was read or written then.
        ValueError: a level that this machine does not have.
    """
    chosen = level() if at is None else at
    if not 0 <= chosen <= level():
        raise ValueError(f"this machine has the levels 0..{level()} of {LEVELS}, not {chosen}")
    declared = DECLARED[name]
    if len(arguments) != len(declared):
        raise TypeError(f"{name} takes {len(declared)} arguments, got {len(arguments)}")
    given: list[int | None] = []
    for (argument, wanted, optional, number), value in zip(declared, arguments):
        if number:
            if type(value) is not int or value < 0:
                raise TypeError(f"{name}: {argument} must be a number, got {type(value).__name__}")
            given.append(value)
        elif value is None and optional:
            given.append(None)
        elif (
            isinstance(value, Tensor)
            and value.dtype is (wanted or dtype)
            and value.is_cpu
            and value.layout is torch.strided
            and value.is_contiguous()
        ):
            given.append(value.data_ptr())
        else:
            found = f"{value.dtype} on {value.device}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name}: {argument} must be contiguous {wanted or dtype} on cpu, got {found}")
    return _function(name, dtype)(*given, chosen, torch.get_num_threads())


@cache
def _function(name: str, dtype: torch.dtype) -> Callable[..., int]:
    found = getattr(library(), f"{name}_{KINDS[dtype]}")
    kinds = (ctypes.c_int64 if argument.number else ctypes.c_void_p for argument in DECLARED[name])
    found.argtypes = (*kinds, ctypes.c_int, ctypes.c_int)
    return found
