"""What an argument may be: values that fit, values that may be refused or taken, and values that must be refused."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mmgraph.ops import CSR

Sense = Literal["good", "odd", "bad"]
NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Value:
    """A value of an argument, what it is called in the list of cases, and whether it makes sense."""

    text: str
    value: Any
    sense: Sense = "good"


Domain = Callable[[random.Random, Sense], Value]


def seeded(chance: random.Random) -> torch.Generator:
    """A generator of torch's that follows Python's."""
    return torch.Generator().manual_seed(chance.getrandbits(31))


def _pick(chance: random.Random, sense: Sense, values: Sequence[Any]) -> Value:
    value = chance.choice(values)
    return Value(repr(value), value, sense)


def whole(low: int, high: int, *, none: bool = False) -> Domain:
    """Ints from ``low`` to ``high``; below ``low`` they mean nothing."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        if sense == "bad":
            return _pick(chance, "bad", [low - 1, -7, NAN, 2.5, True, "3", [], INF] + ([] if none else [None]))
        return _pick(chance, "good", [*range(low, high + 1), *([None] if none else [])])

    return draw


def real(
    low: float, high: float, *, beyond: Sequence[float] = (-1.0,), none: bool = False, endless: bool = False
) -> Domain:
    """Numbers from ``low`` to ``high``; ``beyond`` are some that mean nothing; ``endless``: INF fits."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        if sense == "bad":
            return _pick(
                chance,
                "bad",
                [*beyond, NAN, -INF, "0.1", [], True] + ([] if endless else [INF]) + ([] if none else [None]),
            )
        value = round(chance.uniform(low, high), 4)
        return Value(repr(value), value)

    return draw


def word(*known: str | None) -> Domain:
    """One of some words."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        if sense == "bad":
            return _pick(chance, "bad", [str(known[0]) + "x", "", 3, ["a"]])
        return _pick(chance, "good", known)

    return draw


def truth() -> Domain:
    """True or False."""
    return lambda chance, sense: _pick(chance, "good", [True, False])


def rows(size: int, shape: Sequence[int] = (6,), *, free: bool = False, none: bool = False, dim: int = 1) -> Domain:
    """Rows of a table of ``size``; ``free`` where the number of rows does not hang on other arguments, ``none`` where
    None stands for all of them, ``dim`` -1 where they may have any shape."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        good = torch.randint(0, size, tuple(shape), generator=seeded(chance))
        if sense == "good":
            return _laid_out(chance, good, f"rows {list(shape)} of {size}")
        if sense == "odd":
            return Value("rows as int32", good.int(), "odd") if not free else Value("no rows", good[:0], "odd")
        wrong: dict[str, Any] = {
            "a row too far": good.index_fill(0, torch.tensor([0]), size),
            "row -1": good.index_fill(0, torch.tensor([good.shape[0] - 1]), -1),
            "a huge row": good.index_fill(0, torch.tensor([0]), 2**62),
            "float rows": good.float() + 0.5,
            "bool rows": good > 0,
            "complex rows": good.to(torch.complex64),
            "a dimension more": good.unsqueeze(0),
            "text": "rows",
            "None": None,
        }
        if none:
            del wrong["None"]
        if dim < 0:
            del wrong["a dimension more"]
        if not free:
            wrong["one row fewer"] = good[:-1]
        name = chance.choice(list(wrong))
        return Value(name, wrong[name], "bad")

    return draw


def floats(
    *shape: int, free: Sequence[int] = (), low: float = -1.0, high: float = 1.0, nan: bool = True, ints: bool = False
) -> Domain:
    """A float32 tensor; ``free`` are the dimensions that do not hang on other arguments, ``nan``, ``ints``: taken."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        good = low + (high - low) * torch.rand(shape, generator=seeded(chance))
        if sense == "good":
            return _laid_out(chance, good, f"floats {list(shape)}")
        if sense == "odd":
            odd = {"double": good.double(), "huge": good * 1e30}
            if nan:
                odd["a NaN"] = good.index_fill(0, torch.tensor([0]), NAN)
            name = chance.choice(list(odd))
            return Value(name, odd[name], "odd")
        wrong: dict[str, Any] = {
            "int64 numbers": (good * 9).long(),
            "complex numbers": good.to(torch.complex64),
            "text": "numbers",
            "a number": 0.5,
        }
        if ints:
            del wrong["int64 numbers"]
        if not nan:
            wrong["a NaN"] = good.index_fill(0, torch.tensor([0]), NAN)
        if len(free) < len(shape):
            wrong["a dimension more"] = good.unsqueeze(0).expand(2, *shape)
        for dim in range(len(shape)):
            if dim not in free:
                wrong[f"one more in dimension {dim}"] = torch.cat([good, good.narrow(dim, 0, 1)], dim)
                wrong[f"nothing in dimension {dim}"] = good.narrow(dim, 0, 0)
        name = chance.choice(list(wrong))
        return Value(name, wrong[name], "bad")

    return draw


def flags(size: int, *, ints: bool = False) -> Domain:
    """A mask [size]; ``ints`` where 0 and 1 will do."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        good = torch.rand(size, generator=seeded(chance)) < 0.7
        good[0] = True
        if sense != "bad":
            return _laid_out(chance, good, f"flags [{size}]")
        wrong = {"float flags": good.float(), "int flags": good.long(), "a flag more": torch.cat([good, good[:1]])}
        if ints:
            del wrong["int flags"]
        name = chance.choice(list(wrong))
        return Value(name, wrong[name], "bad")

    return draw


def matrix(shape: tuple[int, int], *, weighted: bool = False, symmetric: bool = False, none: bool = False) -> Domain:
    """A CSR of that shape, with duplicates and empty rows as chance has it."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        if sense == "bad":
            return _pick(chance, "bad", ["a matrix", 3, [[0, 1]], *([] if none else [None])])
        generator, many = seeded(chance), 3 * shape[0] if sense == "good" else 0
        if symmetric:
            half = shape[0] // 2
            ends = [torch.randint(0, half, (many,), generator=generator) for _ in range(2)]
            out = CSR.bipartite(ends[0], ends[1], (half, shape[0] - half)).normalized("sym")
        else:
            ends = [torch.randint(0, n, (many,), generator=generator) for n in shape]
            values = torch.rand(many, generator=generator) if weighted else None
            out = CSR.from_edges(ends[0], ends[1], shape, values)
        return Value(f"CSR {list(shape)} of {many} edges", out, sense)

    return draw


def one_of(good: Sequence[Any], bad: Sequence[Any], odd: Sequence[Any] = ()) -> Domain:
    """Values said one by one."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        values = {"good": good, "bad": bad, "odd": odd or good}[sense]
        return _pick(chance, "good" if sense == "odd" and not odd else sense, list(values))

    return draw


def generator() -> Domain:
    """A generator of torch's."""

    def draw(chance: random.Random, sense: Sense) -> Value:
        if sense == "bad":
            return _pick(chance, "bad", [None, 3, "seed"])
        return Value("generator", seeded(chance))

    return draw


def _laid_out(chance: random.Random, tensor: Tensor, text: str) -> Value:
    """The same numbers, sometimes with other strides."""
    if chance.random() < 0.3 and tensor.dim():
        wide = torch.stack([tensor, tensor], -1)
        return Value(text + ", strided", wide[..., 0])
    return Value(text, tensor)
