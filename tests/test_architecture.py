"""Rules about the code itself, read from its syntax trees. A failure lists every offender and how to mend it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mmgraph"

# A file imports only from entries before its own.
ORDER = (
    *(
        "config",
        "process",
        "progress",
        "description",
        "ops",
        "constraint",
        "data",
        "features",
        "encoders",
        "graph",
        "losses",
        "nn",
        "objectives",
        "models",
    ),
    *(
        "recommend",
        "evaluate",
        "train",
        "distributed",
        "experiment",
        "audit",
        "report",
        "bundle",
        "serve",
        "demo",
        "recipes",
        "testing",
        "cli",
    ),
)
# The command reads the environment and imports what a person names; recipes read where the data lies; `process` is what
# a process calls as it begins.
MAY = {"cli", "process", "recipes"}
# The lazy exports of the package itself, and what __main__ needs, stand outside the order.
OUTSIDE = {"__init__", "__main__"}

HEAVY = {
    "torch_geometric",
    "transformers",
    "librosa",
    "ogb",
    "av",
    "PIL",
    "sklearn",
    "soundfile",
    "pandas",
    "matplotlib",
}
HEAVY_ALLOWED = {"graph/multimodal.py": {"torch_geometric"}}


@cache
def sources() -> dict[str, ast.Module]:
    """Path below mmgraph/ -> syntax tree."""
    return {
        p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text(), filename=str(p))
        for p in sorted(PACKAGE.rglob("*.py"))
        if p.stat().st_size
    }


def place(path: str) -> str:
    """The entry of ORDER that a file belongs to."""
    return path.split("/")[0].removesuffix(".py")


def imports(tree: ast.AST, path: str, *, top_only: bool = False) -> Iterator[tuple[str, int]]:
    """Absolute names of the modules a file imports, with lines; never those under ``if TYPE_CHECKING``.

    With ``top_only`` those inside functions are left out: they run later, if at all.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if top_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ("mmgraph/" + path).split("/")[: -node.level]
                base = ".".join([*parts, base]).rstrip(".")
            yield base, node.lineno
            if base == "mmgraph":  # `from mmgraph import graph`
                yield from ((f"mmgraph.{alias.name}", node.lineno) for alias in node.names)
        else:
            yield from imports(node, path, top_only=top_only)


def report(offenders: list[str], fix: str) -> str:
    return f"{len(offenders)} offenders:\n  " + "\n  ".join(offenders) + f"\nFix: {fix}"


def test_every_part_has_its_place_in_the_order():
    unknown = sorted({place(p) for p in sources()} - set(ORDER) - OUTSIDE)
    assert not unknown, report(unknown, "give the part its place in ORDER, or put the file into a part that has one")


def test_imports_point_one_way():
    offenders = []
    for path, tree in sources().items():
        here = place(path)
        if here not in ORDER:
            continue
        for name, line in imports(tree, path):
            part = name.split(".")[1] if name.startswith("mmgraph.") else None
            if part in ORDER and ORDER.index(part) > ORDER.index(here):
                offenders.append(f"mmgraph/{path}:{line} imports {name}, but {here} comes before {part}")
    assert not offenders, report(
        offenders, "move what is shared down, or the caller up; the order is " + " < ".join(ORDER)
    )


def test_heavy_packages_are_imported_inside_functions():
    offenders = []
    for path, tree in sources().items():
        for name, line in imports(tree, path, top_only=True):
            package = name.split(".")[0]
            if package in HEAVY - HEAVY_ALLOWED.get(path, set()):
                offenders.append(f"mmgraph/{path}:{line} imports {name}")
            if name.startswith("mmgraph.graph.multimodal") and not path.startswith("graph/"):
                offenders.append(f"mmgraph/{path}:{line} imports {name}, which imports PyG")
    assert not offenders, report(offenders, "import it in the function that uses it, or under `if TYPE_CHECKING:`")


def forbidden(tree: ast.Module, path: str) -> Iterator[tuple[int, str]]:
    """What a library should not do: read the environment, run strings, import by name, force a device."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.putenv"):
            yield node.lineno, ast.unparse(node)
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {"environ", "getenv"} & {a.name for a in node.names}
        ):
            yield node.lineno, "os.environ"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec"):
                yield node.lineno, f"{called}()"
            # the package's own lazy exports name modules that stand in the file
            if called == "__import__" and path != "__init__.py":
                yield node.lineno, "__import__()"
            if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda" and called != "torch.cuda":
                yield node.lineno, f"{called}()"
            if called.split(".")[-1] in ("import_module", "spec_from_file_location", "module_from_spec"):
                yield node.lineno, f"{called}()"  # find_spec and importlib.metadata only ask what is installed


def test_no_hidden_state_and_no_code_from_strings():
    offenders = [
        f"mmgraph/{path}:{line} {what}"
        for path, tree in sources().items()
        if place(path) not in MAY
        for line, what in forbidden(tree, path)
    ]
    assert not offenders, report(offenders, "take it as an argument; import classes; use .to(device)")


def public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Public classes and functions of a module, and the public methods of its public classes, with dotted names."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, kinds) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner


def private_module(path: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in path.split("/"))


def inherited(node: ast.AST) -> bool:
    """Methods whose contract stands elsewhere: autograd, torch.library and Module machinery, overloads."""
    name = getattr(node, "name", "")
    decorators = {ast.unparse(d).split("(")[0] for d in getattr(node, "decorator_list", [])}
    return name in ("forward", "backward", "setup_context") or any(
        d.endswith(("overload", ".setter")) for d in decorators
    )


def test_every_public_name_has_a_docstring():
    offenders = []
    for path, tree in sources().items():
        if private_module(path):
            continue
        if not ast.get_docstring(tree):
            offenders.append(f"mmgraph/{path}:1 module")
        for name, node in public(tree):
            documented = ast.get_docstring(node) or inherited(node)
            if not documented:
                offenders.append(f"mmgraph/{path}:{node.lineno} {name}")
    assert not offenders, report(offenders, "say what it is, its shapes and what it raises, as the others do")


def exported() -> set[str]:
    """Every name in some ``__all__`` of the package."""
    out: set[str] = set()
    for tree in sources().values():
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == "__all__"
                and isinstance(node.value, ast.List)
            ):
                out |= set(ast.literal_eval(node.value))
    return out


def test_every_public_class_and_function_is_named_in_a_test():
    # public: what a package exports, and what stands in a module that is no part of a package
    tests = "\n".join(p.read_text() for p in sorted((ROOT / "tests").rglob("*.py")))
    words, names = set(re.findall(r"\w+", tests)), exported()
    offenders = [
        f"mmgraph/{path}:{node.lineno} {name}"
        for path, tree in sources().items()
        for name, node in public(tree)
        if "." not in name and name not in words and ("/" not in path or name in names)
    ]
    assert not offenders, report(offenders, "write a test that a wrong version of it breaks, or do not export it")


def test_every_test_asserts_something():
    trees = {p: ast.parse(p.read_text()) for p in sorted((ROOT / "tests").rglob("*.py"))}
    functions = [(p, n) for p, tree in trees.items() for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]

    def states(node: ast.FunctionDef, helpers: set[str]) -> bool:
        calls = {ast.unparse(n.func).split(".")[-1] for n in ast.walk(node) if isinstance(n, ast.Call)}
        known = {"raises", "warns", "check", "opcheck", "gradcheck", "assert_close"} | helpers
        return bool(calls & known) or any(isinstance(n, ast.Assert) for n in ast.walk(node))

    helpers: set[str] = set()
    for _ in range(3):  # helpers that call helpers
        helpers |= {n.name for _, n in functions if not n.name.startswith("test_") and states(n, helpers)}
    offenders = [
        f"{p.relative_to(ROOT)}:{n.lineno} {n.name}"
        for p, n in functions
        if p.name.startswith("test_") and n.name.startswith("test_") and not states(n, helpers)
    ]
    assert not offenders, report(offenders, "state a fact that a wrong implementation breaks")


def loaded_by(statement: str, *names: str) -> list[str]:
    code = f"{statement}\nimport sys\nprint([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout.strip().splitlines()[-1])


def test_the_command_line_needs_no_torch():
    assert loaded_by("import mmgraph.cli", "torch", "numpy", "polars", "torch_geometric") == []


def test_import_mmgraph_is_lazy_and_its_parts_leave_heavy_packages_alone():
    assert loaded_by("import mmgraph", "torch", "torch_geometric") == []
    parts = [p for p in ORDER[: ORDER.index("serve")] if (PACKAGE / p).is_dir() or (PACKAGE / f"{p}.py").is_file()]
    statement = "\n".join(f"import mmgraph.{part}" for part in parts)
    assert loaded_by(statement, *sorted(HEAVY - {"matplotlib"})) == []


def test_the_rules_notice_what_they_forbid():
    bad = ast.parse(
        "import os, importlib\nx = os.environ['A']\neval('1')\nmodel.cuda()\n__import__('a')\n"
        "importlib.import_module('a')\n"
    )
    assert sorted(what for _, what in forbidden(bad, "models/x.py")) == [
        "__import__()",
        "eval()",
        "importlib.import_module()",
        "model.cuda()",
        "os.environ",
    ]
    relative = ast.parse(
        "from ..train import fit\nif TYPE_CHECKING:\n    import mmgraph.cli\ndef f():\n    import librosa\n"
    )
    assert [n for n, _ in imports(relative, "ops/x.py")] == ["mmgraph.train", "librosa"]
    assert [n for n, _ in imports(relative, "ops/x.py", top_only=True)] == ["mmgraph.train"]
    names = [n for n, _ in public(ast.parse("class A:\n  def b(self): ...\n  def _c(self): ...\ndef _d(): ...\n"))]
    assert names == ["A", "A.b"]
