"""What is known of a model without running it: when it makes what, which shared blocks it has, how long it is."""

from __future__ import annotations

import ast
import functools
import inspect
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import mmgraph.graph.transforms
import mmgraph.models
from mmgraph.models import Recommender

SHARED = ("mmgraph.nn", "mmgraph.losses", "mmgraph.ops", "mmgraph.models")
# what every model is written with, and no part of any
PLUMBING = {"Recommender", "Embeddings", "Rows", "ALL", "ByColumns", "People", "CSR", "Norm", "Head", "BLOCK"}
PLUMBING |= {"batch_rows", "chosen_modalities", "Need", "dense_bytes", "Common", "Multimodal", "distinct"}
PLUMBING |= {"Content", "Tables", "ClosedForm", "normal_table", "xavier_table"}
FAMILIES = {
    "closed": "In closed form, or solved",
    "cold": "For videos nobody has seen",
    "collaborative": "Graphs and tables of who watched what",
    "multimodal": "Graphs with content",
    "sequential": "Histories in order",
}


@dataclass(frozen=True)
class Card:
    """A model and what ``docs/cards.toml`` says it makes: once, at each epoch, in each step; empty where nothing."""

    model: type[Recommender]
    once: str = ""
    epoch: str = ""
    step: str = ""

    @property
    def name(self) -> str:
        """The class's name, which is the name of its page."""
        return self.model.__name__

    @property
    def family(self) -> str:
        """The folder of ``mmgraph.models`` that it lies in."""
        return self.model.__module__.split(".")[2]


def exported_models() -> list[type[Recommender]]:
    """Every recommender that ``mmgraph.models`` exports, the base class apart, in the order of families and names."""
    found = (getattr(mmgraph.models, name) for name in mmgraph.models.__all__)
    models = [x for x in found if inspect.isclass(x) and issubclass(x, Recommender) and x is not Recommender]
    return sorted(models, key=lambda m: (list(FAMILIES).index(m.__module__.split(".")[2]), m.__name__.lower()))


def read_cards(path: Path) -> list[Card]:
    """A card for each exported model; one that nothing is written of is empty.

    Raises:
        ValueError: what is written is of no model.
    """
    written, models = tomllib.loads(path.read_text()), exported_models()
    if unknown := sorted(set(written) - {m.__name__ for m in models}):
        raise ValueError(f"{path.name}: no model for {unknown}")
    return [Card(m, **written.get(m.__name__, {})) for m in models]


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(Path(inspect.getfile(_module(module))).read_text())


def _module(name: str) -> ModuleType:
    return __import__(name, fromlist=["_"])


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _definitions(module: str) -> dict[str, ast.stmt]:
    body = _tree(module).body
    return {n.name: n for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef)}


def own_code(model: type[Recommender]) -> list[ast.stmt]:
    """The class, and what of its file it uses that is no exported model itself."""
    defined, exported = _definitions(model.__module__), {m.__name__ for m in exported_models()}
    todo, out = [model.__name__], dict[str, ast.stmt]()
    while todo:
        if (name := todo.pop()) not in out:
            out[name] = defined[name]
            todo += [n for n in _names(defined[name]) if n in defined and n not in exported]
    return list(out.values())


def _documentation(nodes: list[ast.stmt]) -> Iterator[ast.Expr]:
    for node in (n for top in nodes for n in ast.walk(top)):
        first = node.body[0] if isinstance(node, ast.ClassDef | ast.FunctionDef) else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            yield first


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def own_lines(model: type[Recommender]) -> int:
    """Lines of :func:`own_code` that hold code: no docstring, no comment, no blank line, no import."""
    nodes = own_code(model)
    text = Path(inspect.getfile(model)).read_text().splitlines()
    within = {i for n in nodes for i in _lines(n)}
    apart = {i for n in _documentation(nodes) for i in _lines(n)}
    return sum(1 for i in within - apart if (line := text[i - 1].strip()) and not line.startswith("#"))


def shared_blocks(model: type[Recommender]) -> list[str]:
    """What :func:`own_code` uses of the shared layers, losses and operations, or of other models: full names."""
    used = set().union(*(_names(node) for node in own_code(model)))
    out = set()
    for node in ast.walk(_tree(model.__module__)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(SHARED):
            out |= {f"{node.module}.{a.name}" for a in node.names if (a.asname or a.name) in used - PLUMBING}
    return sorted(out)


def transforms_named(model: type[Recommender]) -> list[str]:
    """The graph transforms that the model's docstring or one of its errors names: what its recipe gives it."""
    texts = [n.value for top in own_code(model) for n in ast.walk(top) if isinstance(n, ast.Constant)]
    words = " ".join(t for t in texts if isinstance(t, str))
    return [name for name in mmgraph.graph.transforms.__all__ if name != "Transform" and name in words]
