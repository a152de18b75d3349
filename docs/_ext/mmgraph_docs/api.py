"""The pages of the API: every public name once, with its signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from mmgraph_docs.cards import Card
from mmgraph_docs.text import code, heading, tree

# a name is documented with the first package that exports it
PACKAGES = (
    *("mmgraph", "mmgraph.data", "mmgraph.data.readers", "mmgraph.data.split", "mmgraph.data.synthetic"),
    *("mmgraph.features", "mmgraph.encoders", "mmgraph.graph", "mmgraph.ops", "mmgraph.nn", "mmgraph.nn.heads"),
    *("mmgraph.nn.temporal", "mmgraph.losses", "mmgraph.objectives", "mmgraph.models", "mmgraph.train"),
    *("mmgraph.recommend", "mmgraph.evaluate", "mmgraph.experiment", "mmgraph.audit", "mmgraph.report"),
    *("mmgraph.bundle", "mmgraph.serve.log", "mmgraph.distributed", "mmgraph.testing"),
)


def api_pages(cards: Sequence[Card]) -> Mapping[str, str]:
    """A page a package; a name stands with the first package that exports it, models on their own pages."""
    own_page, home, pages = {c.name for c in cards}, dict[int, str](), {}
    for package in PACKAGES:
        parts: list[str] = []
        for name, value in _exports(package).items():
            if package == "mmgraph" or (package == "mmgraph.models" and name in own_page):
                parts.append(f"- :py:obj:`{name} <{documented(name, value)}>`\n" if name != "__version__" else "")
            elif home.setdefault(id(value), package) == package:
                parts.append(_directive(package, name, value))
        if any(parts):
            first = (inspect.getdoc(import_module(package)) or "").split("\n\n")[0].replace("\n", " ")
            pages[f"api/{package}"] = "\n".join(
                [heading(package), f".. py:module:: {package}\n", code(first) + "\n", *parts]
            )
    pages["api/index"] = "\n".join(
        [heading("API"), "Every public name, with its signature.\n", tree(list(_below(pages)))]
    )
    return pages


@functools.cache
def _exports(package: str) -> dict[str, Any]:
    """``__all__`` of a package, or the public names that a single file defines."""
    module = import_module(package)
    own = [n for n, value in vars(module).items() if getattr(value, "__module__", "") == package and n[0] != "_"]
    return {name: getattr(module, name) for name in sorted(getattr(module, "__all__", own), key=str.lower)}


def _below(pages: Mapping[str, str]) -> Sequence[str]:
    return [page.partition("/")[2] for page in pages]


def documented(name: str, value: Any) -> str:
    """The full name under which a value is documented; empty where no package exports it."""
    found = [p for p in PACKAGES[1:] if _exports(p).get(name) is value]
    return f"{found[0]}.{name}" if found else ""


def _directive(package: str, name: str, value: Any) -> str:
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        return f".. auto{kind}:: {package}.{name}\n   :members:\n"
    return (
        f".. autofunction:: {package}.{name}\n"
        if inspect.isroutine(value)
        else f".. autodata:: {package}.{name}\n   :no-value:\n"
    )
