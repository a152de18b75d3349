"""A value as plain JSON: the same for equal values, different for different ones. What every identity is made of."""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import math
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel
from torch import Tensor, nn


def hash_of(value: Any, size: int = 16) -> str:
    """Hash of plain JSON values, ``2 size`` hex digits; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def describe(value: Any, portable: bool = False) -> Any:
    """A value as plain JSON: the same for equal values, different for different ones.

    Numbers, text and containers stay what they are. A tensor, an array or a table becomes its type, shape and hash;
    functions and classes their names; any other object its class and fields (what pickling would keep of it).

    Args:
        value: anything.
        portable: names without the module they stand in (``mmgraph:LightGCN``, ``MyModel``), so that code may move.

    Raises:
        TypeError: an object without a readable state.
    """
    return _Description(portable).of(value)


class _Description:
    """One walk through a value; an object inside itself is told by how deep it was met first."""

    def __init__(self, portable: bool) -> None:
        self.portable = portable
        self.path: list[int] = []  # ids of the objects that the walk is inside of

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, enum.Enum):
            return f"{type(value).__qualname__}.{value.name}"
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return self._float(float(value))
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, np.generic):
            return self.of(value.item()) if value.dtype.kind in "biufSU" else repr(value)
        if isinstance(value, (Tensor, np.ndarray, pl.DataFrame, pl.Series, bytes, bytearray)):
            return _hashed(value)
        if isinstance(value, BaseModel):
            fields = {name: self.of(getattr(value, name)) for name in type(value).model_fields}
            return {"class": self.name(type(value)), **fields}
        if isinstance(value, type) or inspect.ismodule(value):
            return self.name(value)
        if isinstance(value, (torch.dtype, torch.device, complex, range, slice)):
            return repr(value)
        if id(value) in self.path:
            return {"again": self.path.index(id(value))}
        self.path.append(id(value))
        told = self._compound(value)
        self.path.pop()
        return told

    def _float(self, value: float) -> Any:
        return value if math.isfinite(value) else {"float": repr(value)}

    def _compound(self, value: Any) -> Any:
        if isinstance(value, Mapping) and not dataclasses.is_dataclass(value):
            return {k if isinstance(k, str) else f"{type(k).__name__} {k}": self.of(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(v) for v in value]
        if isinstance(value, (set, frozenset)):
            return sorted((self.of(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
        if isinstance(value, functools.partial):
            return {"call": self.of(value.func), "args": self.of(value.args), "keywords": self.of(value.keywords)}
        if isinstance(value, types.MethodType):
            return {"method": self.name(value), "of": self.of(value.__self__)}
        if inspect.isroutine(value) or hasattr(value, "__wrapped__"):
            function: Any = value
            return self._function(inspect.unwrap(function))
        return {"class": self.name(type(value)), **self._fields(value)}

    def name(self, value: Any) -> str:
        """``module:qualified.name``; portable: without the module, and ``mmgraph:`` before what is this library's."""
        if inspect.ismodule(value):
            return value.__name__
        qualified = getattr(value, "__qualname__", None) or type(value).__qualname__
        module = getattr(value, "__module__", None) or "builtins"
        if not self.portable:
            return f"{module}:{qualified}"
        return f"mmgraph:{qualified}" if module.partition(".")[0] == "mmgraph" else qualified

    def _function(self, value: Any) -> Any:
        name = self.name(value)
        told: dict[str, Any] = {}
        cells = getattr(value, "__closure__", None) or ()
        names = getattr(getattr(value, "__code__", None), "co_freevars", ())
        if cells and self.portable:
            told["closure"] = {n: self.of(c.cell_contents) for n, c in zip(names, cells, strict=True)}
        if "<lambda>" in name and self.portable:
            told["code"] = _hash_code(value.__code__)
            told["defaults"] = self.of([value.__defaults__, value.__kwdefaults__])
        return {"function": name} | told if told else name

    def _fields(self, value: Any) -> dict[str, Any]:
        if dataclasses.is_dataclass(value):
            # a private dict that starts empty is a cache (CSR has two)
            shown = [f.name for f in dataclasses.fields(value) if not (f.name[0] == "_" and f.default_factory is dict)]
            return {name: self.of(getattr(value, name)) for name in shown}
        if isinstance(value, nn.Module):
            # whether it is being trained right now is nothing that it was made with
            own = {k: self.of(v) for k, v in vars(value).items() if k[0] != "_" and k != "training"}
            state = {k: self.of(v) for k, v in value.state_dict().items()}
            return {"fields": own, "parts": {k: self.of(m) for k, m in value.named_children()}, "state": state}
        return self._pickled(value)

    def _pickled(self, value: Any) -> dict[str, Any]:
        """What pickling keeps of an object: arguments, state, items; nothing is run."""
        try:
            reduced = value.__reduce_ex__(2)
        except Exception as error:
            raise TypeError(
                f"a {type(value).__module__}.{type(value).__qualname__} cannot be told from another one ({error}): "
                "make it a frozen dataclass whose fields say what it does"
            ) from None
        if isinstance(reduced, str):
            return {"name": reduced}
        make, arguments, state, *rest = (*reduced, *[None] * 3)[:5]
        arguments = tuple(arguments or ())
        if make in (copyreg.__newobj__, copyreg._reconstructor):  # type: ignore[attr-defined]
            arguments = arguments[1:]
        if isinstance(state, dict):
            cached = {k for k in state if isinstance(getattr(type(value), k, None), functools.cached_property)}
            state = {k: v for k, v in state.items() if k not in cached}
        told = {"state": self.of(state)} if state else {}
        if arguments and make is not copyreg._reconstructor:  # type: ignore[attr-defined]
            told["arguments"] = self.of(list(arguments))
        for items in rest:
            if items is not None:
                told.setdefault("items", []).extend(self.of(list(items)))
        return told


def _hashed(value: Any) -> dict[str, str]:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(value, (bytes, bytearray)):
        digest.update(value)
        return {"bytes": str(len(value)), "hash": digest.hexdigest()}
    if isinstance(value, pl.DataFrame):
        told = {name: _hashed(column) for name, column in zip(value.columns, value.get_columns(), strict=True)}
        return {"table": f"{value.height} rows", "hash": hash_of([list(told), list(told.values())])}
    if isinstance(value, pl.Series):
        kind = f"{value.dtype} [{len(value)}]"
        if value.dtype.is_numeric() and not value.null_count():
            digest.update(np.ascontiguousarray(value.to_numpy()).data)
        else:
            digest.update(repr(value.to_list()).encode())
        return {"series": kind, "hash": digest.hexdigest()}
    if isinstance(value, np.ndarray):
        kind = f"{value.dtype} {list(value.shape)}"
        if value.dtype.hasobject:
            digest.update(repr(value.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(value).tobytes())
        return {"array": kind, "hash": digest.hexdigest()}
    kind = f"{value.dtype} {list(value.shape)}".removeprefix("torch.")
    for dense in _dense_parts(value.detach()):
        digest.update(dense.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {"tensor": kind, "hash": digest.hexdigest()}


def _dense_parts(value: Tensor) -> list[Tensor]:
    if value.layout is torch.strided:
        return [value.resolve_conj().resolve_neg()]
    if value.layout is torch.sparse_coo:
        value = value.coalesce()
        return [value.indices(), value.values()]
    if value.layout is torch.sparse_csr:
        return [value.crow_indices(), value.col_indices(), value.values()]
    return [value.to_dense()]


def _hash_code(code: types.CodeType) -> str:
    constants = [_hash_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return hash_of([code.co_code.hex(), constants, list(code.co_names)])


def differences(there: Any, here: Any) -> list[str]:
    """One line for each value of two descriptions that is not the same there and here, with its dotted path."""
    lines: list[str] = []
    _differences("", there, here, lines)
    return lines


def _differences(path: str, there: Any, here: Any, lines: list[str]) -> None:
    if json.dumps(there, sort_keys=True) == json.dumps(here, sort_keys=True):
        return
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            _differences(f"{path}.{key}" if path else key, there.get(key), here.get(key), lines)
    else:
        lines.append(f"{path}: there {_short(there)}, here {_short(here)}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "…"
