"""One case: drawn from its seed and number alone, run in a child, judged by what came back."""

from __future__ import annotations

import multiprocessing
import random
import re
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.fuzz.arguments import Sense, Value
from benchmarks.fuzz.targets import Target, all_targets

OUTCOMES = ("works", "clear", "obscure", "silent", "signal")
OURS = Path(__file__).parents[2] / "mmgraph"
CLEAR = (ValueError, TypeError, KeyError, IndexError)


class Case(NamedTuple):
    """A call, what its arguments are, and the names of those that make no sense or may be refused."""

    target: Target
    arguments: dict[str, Value]

    def __str__(self) -> str:
        marks = {"good": "", "odd": " (odd)", "bad": " (bad)"}
        return f"{self.target.name}({', '.join(f'{k}={v.text}{marks[v.sense]}' for k, v in self.arguments.items())})"


class Outcome(NamedTuple):
    """How a case ended, and what it said."""

    kind: str
    said: str = ""


def draw(targets: list[Target], seed: int, number: int) -> Case:
    """The case of that number: the targets in turn, at most one argument that does not fit."""
    chance = random.Random(f"{seed}:{number}")
    target = targets[chance.randrange(len(targets))]
    names = [n for n in target.arguments if n not in target.optional or chance.random() < 0.5]
    names = names or [chance.choice(list(target.arguments))]
    sense: Sense = chance.choices(("good", "odd", "bad"), (4, 1, 5))[0]
    wrong = chance.choice(names)
    return Case(target, {n: target.arguments[n](chance, sense if n == wrong else "good") for n in names})


def judge(case: Case) -> Outcome:
    """Runs a case in this process."""
    given = {name: value.value for name, value in case.arguments.items()}
    senses = {value.sense for value in case.arguments.values()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = case.target.call(**given)
    except AssertionError as error:
        return Outcome("silent", str(error))
    except Exception as error:
        return _refused(case, error)
    if "bad" in senses:
        return Outcome("silent", "taken")
    if case.target.reference is not None and senses == {"good"}:
        wanted = case.target.reference(**given)
        if not _equal(result, wanted):
            return Outcome("silent", "another result than the reference's")
    return Outcome("works")


def _refused(case: Case, error: Exception) -> Outcome:
    said = f"{type(error).__name__}: {error}"
    wrong = {name for name, value in case.arguments.items() if value.sense != "good"}
    if not wrong:
        return Outcome("obscure", "refused what makes sense: " + said)
    words = {word for name in wrong for word in (name, *case.target.things.get(name, ()))}
    named = any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", str(error)) for word in words)
    raised = traceback.extract_tb(error.__traceback__)[-1].filename
    ours = Path(raised).is_relative_to(OURS)
    return Outcome("clear" if isinstance(error, CLEAR) and named and ours else "obscure", said)


def _equal(result: Any, wanted: Any) -> bool:
    if not isinstance(result, Tensor) or not isinstance(wanted, Tensor) or result.shape != wanted.shape:
        return False
    return torch.allclose(result.double(), wanted.double(), rtol=1e-4, atol=1e-5, equal_nan=True)


def _child(pipe: Connection, seed: int) -> None:
    targets = all_targets()
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        case = draw(targets, seed, number)
        pipe.send(str(case))
        pipe.send(judge(case))


def run(cases: range, seed: int, seconds: float) -> Iterator[tuple[int, str, Outcome]]:
    """The cases one after the other in a forked child, and a fresh one after each that kills it or takes longer."""
    # the targets are made in the child alone: what polars and torch start here, a fork would wait for
    context = multiprocessing.get_context("fork")
    child, pipe = None, None
    for number in cases:
        if child is None:
            pipe, theirs = context.Pipe()
            child = context.Process(target=_child, args=(theirs, seed), daemon=True)
            child.start()
            theirs.close()
            pipe.recv()
        assert pipe is not None
        text = "?"
        try:
            pipe.send(number)
            text = pipe.recv()
            outcome = pipe.recv() if pipe.poll(seconds) else Outcome("signal", f"took longer than {seconds:g} s")
        except (EOFError, OSError):
            child.join()
            outcome = Outcome("signal", f"ended with {child.exitcode}")
        yield number, text, outcome
        if outcome.kind == "signal":
            child.kill()
            child.join()
            child = None
    if child is not None and pipe is not None:
        pipe.send(None)
        child.join()
