"""A device that is not the CPU, on any machine: tensors say that they lie on "meta", and hold their values.

Inside :class:`Elsewhere` what is made on "meta" has values, computed on the CPU, and an operation that mixes such a
tensor with one on the CPU is an error, as it is on CUDA; a CPU tensor without dimensions may be mixed in, as there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

MAY_MIX = {"aten::copy_", "aten::_to_copy", "aten::_pack_padded_sequence"}  # the last takes lengths on the CPU alone


class Mixed(RuntimeError):
    """Tensors of two devices in one operation."""


class Away(Tensor):
    """A tensor that says it is on "meta", and holds its values on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        where = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        out = Tensor._make_wrapper_subclass(
            cls, held.shape, device=torch.device("meta"), requires_grad=held.requires_grad, **where
        )
        out.held = held.detach()
        return out

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Away({self.held!r})"


class Elsewhere(TorchDispatchMode):
    """While active, "meta" is a device with values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the values held."""
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    away = [t for t in given if isinstance(t, Away)]
    name = func._schema.name
    here = [t for t in given if not isinstance(t, Away) and t.dim()]
    if away and here and name not in MAY_MIX:
        raise Mixed(f"{name} mixes {[list(t.shape) for t in here]} on the CPU with {[list(t.shape) for t in away]}")
    asked = kwargs.get("device")
    result_away = bool(away) if asked is None else torch.device(asked).type == "meta"
    if asked is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    if name == "aten::copy_":
        result_away = isinstance(args[0], Away)
    if name == "aten::_pack_padded_sequence":  # lengths and sizes of batches stay on the CPU, on every device
        data, sizes = func(args[0].held, *args[1:])
        return Away(data), sizes
    inside = tree_map(lambda t: t.held if isinstance(t, Away) else t, (args, kwargs))
    out = func(*inside[0], **inside[1])
    back = {id(t.held): t for t in away}  # what is written in place stays the same tensor
    return tree_map(lambda t: back[id(t)] if id(t) in back else _wrapped(t, result_away), out)


def _wrapped(value: Any, away: bool) -> Any:
    return Away(value) if away and isinstance(value, Tensor) and not isinstance(value, Away) else value
