"""From ``module:function`` to an Experiment: the one place that imports what a person names."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmgraph.cli.shell import UsageError

if TYPE_CHECKING:
    from mmgraph.experiment import Experiment, Suite

T = TypeVar("T")


def load_experiment(source: str) -> Experiment:
    """Calls the function that ``source`` names and returns its experiment; the current directory is importable.

    Args:
        source: ``module:function`` or ``path/to/file.py:function``.

    Raises:
        UsageError: no such module, file or function, it needs arguments, or it returned something else.
    """
    from mmgraph.experiment import Experiment

    return _called(source, Experiment, "an Experiment")


def load_suite(source: str) -> Suite:
    """Calls the function that ``source`` names and returns its suite.

    Args:
        source: ``module:function``, ``path/to/file.py:function``, or the name of one of :mod:`mmgraph.recipes.suites`.

    Raises:
        UsageError: as :func:`load_experiment`.
    """
    from mmgraph.experiment import Suite

    return _called(source if ":" in source else f"mmgraph.recipes.suites:{source}", Suite, "a Suite")


def _called(source: str, kind: type[T], what: str) -> T:
    where, colon, name = source.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"{source!r} is not MODULE:FUNCTION or path/to/file.py:function")
    module = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
    function: Callable[[], Any] | None = getattr(module, name, None)
    if function is None:
        there = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
        there = [n for n in there if not n.startswith("_")]
        close = difflib.get_close_matches(name, there, n=1)
        raise UsageError(f"{where} has no {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"it has {there}"))
    if not callable(function):
        raise UsageError(f"{source} is a {type(function).__name__}, not a function that returns {what}")
    needs = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needs:
        raise UsageError(f"{source} needs arguments {needs}; write a function without any that calls it")
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)  # weights that a recipe draws, of a head say, are the same in each process that reads it
        made = function()
    if not isinstance(made, kind):
        raise UsageError(f"{source} returned a {type(made).__name__}, not {what}")
    return made


def _load_module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # a module that exists but lacks something it imports is another mistake than a misspelt name
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(f"{name} needs the package {error.name!r}, which is not installed") from error
        raise UsageError(f"no module {name!r} here or among the installed packages") from None


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"no file {path}")
    path = path.resolve()
    for folder in (str(path.parent), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    there = sys.modules.get(path.stem)  # never take the place of another module
    name = path.stem if there is None or getattr(there, "__file__", None) == str(path) else f"{path.stem}_file"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that its functions and classes can name where they live
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(f"{path}, line {error.lineno}: {error.msg}") from None
    return module
