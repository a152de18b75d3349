"""The one gate for what comes from outside: rows, counts, flags, and tensors that belong together.

To torch -1 is the last row, a float or a bool is cut to a row, and a row outside the table may be foreign memory. So
whatever takes rows or a count passes it through here once, at its door, and uses what comes back::

    from mmgraph.ops import checks

    users = checks.rows(users, graph.num_users, "users", like=emb.user)  # int64, 0..U-1, on the device of emb.user
    k = checks.count(k, "k")                                             # a plain int, 1 or more
    candidates = checks.flags(candidates, num_videos, "candidates", like=emb.video)  # bool [V]
    weights = checks.numbers(weights, (num_edges,), "weights", like=x)   # floating point, this shape, that device

``name`` is the argument's, for the message. Each costs a few microseconds on CPU. On a GPU the range of rows is
asserted without waiting for it (a wrong row fails the device, it reads nothing); under ``torch.compile``, with fake
tensors and on ``meta`` there are no values to look at, and only shapes and types are checked. What lies above ``ops``
imports these too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["count", "flags", "matrix", "number", "numbers", "readable", "rows", "times", "word"]

_WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


class Placed(Protocol):
    """Anything that lies on a device: a tensor, a CSR, a generator."""

    @property
    def device(self) -> torch.device:
        """Where."""
        ...


def rows(value: Any, size: int | None, name: str, *, like: Placed | None = None, dim: int = 1) -> Tensor:
    """``value`` as int64 rows of a table of ``size`` rows, each in 0..size-1.

    Args:
        value: an integer tensor, or what makes one: an array, a list of ints. Nothing at all may be of any type.
        size: how many rows the table has; None when it is not known, then they only must not be negative.
        name: of the argument, for the message.
        like: on whose device a tensor must be; arrays and lists are put there.
        dim: the number of dimensions; -1 for any.

    Raises:
        TypeError: not whole numbers (floats, bools, complex numbers, text).
        ValueError: a row outside the table, another device, another number of dimensions.
    """
    index = _tensor(value, name, like)
    if dim >= 0 and index.dim() != dim:
        shape = "[B]" if dim == 1 else f"{dim}-dimensional"
        raise ValueError(f"{name} must be {shape}, got {list(index.shape)}")
    if index.dtype not in _WHOLE and index.numel():
        hint = ": take .nonzero().flatten() of a mask" if index.dtype == torch.bool else ""
        raise TypeError(f"{name} must be whole numbers (int64), got {index.dtype}{hint}")
    index = index.long()
    if index.numel():
        _within(index, size, name)
    return index


def count(value: Any, name: str, low: int = 1, high: int | None = None) -> int:
    """``value`` as a plain int from ``low`` to ``high``, both included.

    Raises:
        TypeError: not a whole number; a tensor is none either, since reading it waits for the device.
        ValueError: out of range.
    """
    if isinstance(value, torch.SymInt):
        return value  # pyright: ignore[reportReturnType]  # an int that torch.compile keeps open
    if isinstance(value, bool) or not isinstance(value, Integral):
        hint = ": pass int(...) of it" if isinstance(value, Tensor) else ""
        raise TypeError(f"{name} must be a whole number (int), got {_described(value)}{hint}")
    number = int(value)
    if number < low or (high is not None and number > high):
        allowed = f"{low} or more" if high is None else f"from {low} to {high:,}"
        raise ValueError(f"{name} must be {allowed}, got {number:,}")
    return number


def number(
    value: Any, name: str, low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> float:
    """``value`` as a finite number from ``low`` to ``high``, without the ends where ``above`` and ``below`` say so.

    Raises:
        TypeError: not a number; a bool is none.
        ValueError: out of range, infinite or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {_described(value)}")
    out = float(value)
    fine = math.isfinite(out) and (low < out if above else low <= out) and (out < high if below else out <= high)
    if not fine:
        least = "" if low == -math.inf else f" above {low:g}" if above else f" of at least {low:g}"
        most = "" if high == math.inf else f"{' and' if least else ''} {'below' if below else 'at most'} {high:g}"
        raise ValueError(f"{name} must be a finite number{least}{most}, got {value!r}")
    return out


def word(value: Any, name: str, known: Sequence[str | None]) -> None:
    """Refuses what is none of the words that an argument takes.

    Raises:
        ValueError: it is another one, or no word.
    """
    if not any(value is one if one is None else isinstance(value, str) and value == one for one in known):
        wanted = ", ".join(map(repr, known))
        raise ValueError(f"{name} must be one of {wanted}, got {_described(value)}")


def matrix(value: Any, name: str) -> None:
    """Refuses what is no CSR.

    Raises:
        TypeError: it has no ``indptr``.
    """
    if not hasattr(value, "indptr") or not hasattr(value, "transpose"):
        raise TypeError(f"{name} must be a CSR, got {_described(value)}")


def flags(value: Any, size: int, name: str, *, like: Placed | None = None) -> Tensor:
    """``value`` as [size] bool.

    Raises:
        TypeError: not bool: 0 and 1 would be negated bit by bit.
        ValueError: another shape or device.
    """
    out = _tensor(value, name, like)
    if out.dtype != torch.bool and out.numel():
        raise TypeError(f"{name} must be bool, got {out.dtype}")
    if out.shape != (size,):
        raise ValueError(f"{name} must be [{size}] bool, got {list(out.shape)}")
    return out.bool()


def numbers(
    value: Any,
    shape: Sequence[int | None] | None,
    name: str,
    *,
    like: Placed | None = None,
    bools: bool = False,
    beside: str = "",
) -> Tensor:
    """``value`` as a floating point tensor of ``shape``.

    Args:
        value: float16, bfloat16, float32 or float64.
        shape: None stands for any size; None altogether for any shape.
        name: of the argument, for the message.
        like: on whose device it must be.
        bools: bool is welcome too.
        beside: the argument whose shape decides this one's, for the message: either may be the wrong one.

    Raises:
        TypeError: not floating point.
        ValueError: another shape or device.
    """
    out = _tensor(value, name, like)
    if shape is not None and (
        out.dim() != len(shape) or any(s not in (None, n) for s, n in zip(shape, out.shape, strict=True))
    ):
        wanted = ", ".join("*" if s is None else str(s) for s in shape)
        given = f" beside {beside}" if beside else ""
        raise ValueError(f"{name} must be [{wanted}]{given}, got {list(out.shape)}")
    if out.dtype not in _FLOATS and not (bools and out.dtype == torch.bool):
        raise TypeError(f"{name} must be floating point{' or bool' if bools else ''}, got {out.dtype}")
    return out


def times(value: Any, name: str) -> Tensor:
    """``value``, one moment or several, as float64 seconds; infinity is the end of time.

    Raises:
        TypeError: no numbers.
        ValueError: one of them is NaN: it is neither before nor after anything.
    """
    if isinstance(value, (bool, str)) or not isinstance(value, (Real, Tensor)) or getattr(value, "is_complex", bool)():
        raise TypeError(f"{name} must be seconds, a number or a tensor of them, got {_described(value)}")
    out = torch.as_tensor(value, dtype=torch.float64)
    if readable(out) and bool(out.isnan().any()):
        raise ValueError(f"{name} must be seconds, got NaN")
    return out


def readable(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be looked at without waiting: on CPU, and not traced, fake or on meta."""
    return tensor.device.type == "cpu" and type(tensor) in _PLAIN and not torch.compiler.is_compiling()


_PLAIN = (Tensor, torch.nn.Parameter)


def _tensor(value: Any, name: str, like: Placed | None) -> Tensor:
    if not isinstance(value, Tensor):
        if isinstance(value, (str, bytes)) or value is None or not hasattr(value, "__len__"):
            raise TypeError(f"{name} must be a tensor, got {_described(value)}")
        try:
            return torch.as_tensor(value, device=None if like is None else like.device)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise TypeError(f"{name} must be a tensor, and a {type(value).__name__} like this makes none") from error
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}")
    if like is not None and value.device != like.device:
        raise ValueError(f"{name} is on {value.device}, but what it belongs to is on {like.device}: move one of them")
    return value


def _within(index: Tensor, size: int | None, name: str) -> None:
    if readable(index):
        low, high = (int(bound) for bound in torch.aminmax(index))
        if low < 0 or (size is not None and high >= size):
            wrong = low if low < 0 else high
            place = int((index.flatten() == wrong).nonzero()[0])
            table = "0 and up" if size is None else f"0..{size - 1}" if size else "a table without rows"
            raise ValueError(f"{name} holds {wrong} (entry {place}), outside {table}")
    elif index.device.type not in ("cpu", "meta"):
        inside = index.ge(0) if size is None else index.ge(0) & index.lt(size)
        torch._assert_async(inside.all(), f"{name} holds a row outside 0..{'' if size is None else size - 1}")


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {value.dtype} {list(value.shape)}"
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) < 40 else shown[:37] + '...'}"
