"""Sphinx calls this: pages are written before it reads them, docstrings are made ready for it."""

from __future__ import annotations

import inspect
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from sphinx.util.inspect import stringify_signature

from mmgraph.experiment import read_ledger
from mmgraph_docs.api import api_pages, documented
from mmgraph_docs.boards import leaderboard
from mmgraph_docs.cards import read_cards
from mmgraph_docs.pages import blocks_page, code_page, model_page, models_index
from mmgraph_docs.pictures import gallery, pictures
from mmgraph_docs.rows import entries, read_rows
from mmgraph_docs.text import escaped, joined

ROOT = Path(__file__).parents[3]


def made(root: Path = ROOT) -> dict[str, str]:
    """Everything that is generated: path below ``docs/reference`` -> its text."""
    cards, rows = read_cards(root / "docs" / "cards.toml"), read_rows(root / "benchmarks" / "results")
    every, drawn = entries(rows), pictures(entries(rows), rows)
    out = {f"models/{card.name}.rst": model_page(card, every, rows) for card in cards}
    out |= {f"{name}.rst": text for name, text in api_pages(cards).items()}
    out |= {f"gallery/{p.name}.svg": p.svg for p in drawn}
    ledger, names = read_ledger(root / "benchmarks" / "claims.toml"), frozenset(c.name for c in cards)
    out |= {"models/index.rst": models_index(cards), "blocks.rst": blocks_page(cards), "gallery.rst": gallery(drawn)}
    out["code.rst"] = code_page({path.stem: path.read_text() for path in (root / "docs").glob("*.md")})
    return out | {"leaderboard.rst": leaderboard(every, rows, ledger, names)}


def write(folder: Path, pages: dict[str, str]) -> None:
    """Makes the folder hold exactly these pages; one that is the same is not touched, so that it is not read again."""
    for old in [p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).as_posix() not in pages]:
        old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "reference", made()))
    app.connect("autodoc-process-docstring", _ready, priority=900)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _ready(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = escaped([joined(line) for line in lines])


def _signature(app: Any, what: str, name: str, obj: Any, options: Any, given: str, returns: str) -> Any:
    """A class whose creation takes anything is shown with what its ``__init__`` takes."""
    if what != "class" or given != "(*args, **kwargs)":
        return None
    found = inspect.signature(obj.__init__)
    taken = found.replace(parameters=list(found.parameters.values())[1:], return_annotation=found.empty)
    return stringify_signature(taken, show_annotation=False), returns


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out what no one wrote: fields of named tuples and what pydantic adds."""
    return True if type(obj).__name__ == "_tuplegetter" or name in {"model_config", "model_post_init"} else None


def _elsewhere(app: Any, env: Any, node: Any, text: Any) -> Any:
    """A name of ours that is not documented under its own path: linked to where it is exported, else plain.

    A name that does not exist stays a broken reference, which is an error of the build.
    """
    name = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not name.startswith("mmgraph."):
        return None
    try:
        value = resolve_name(name)
    except (ImportError, AttributeError):
        return None
    home = documented(name.rpartition(".")[2], value)
    if not home or home == name:
        return text
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, text) or text
