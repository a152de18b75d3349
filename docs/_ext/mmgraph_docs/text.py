"""reStructuredText by pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence


def heading(title: str, mark: str = "=") -> str:
    """A title with its line below."""
    return f"{title}\n{mark * max(4, len(title))}\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: str = "auto") -> str:
    """A ``list-table``; cells are reStructuredText of one line."""
    lines = [".. list-table::", "   :header-rows: 1", "   :class: rows", f"   :widths: {widths}", ""]
    for row in [head, *rows]:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def tree(pages: Sequence[str], *, depth: int = 1, hidden: bool = False) -> str:
    """A ``toctree`` of pages."""
    options = [f"   :maxdepth: {depth}", *(["   :hidden:"] if hidden else [])]
    return "\n".join([".. toctree::", *options, "", *(f"   {page}" for page in pages)]) + "\n"


def code(text: str) -> str:
    """Markdown's code marks as those of reStructuredText."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)


def escaped(lines: Sequence[str]) -> list[str]:
    """Docstring lines as they were meant, outside code: ``|u|`` is no substitution, ``recall@20`` no address.

    Nor is an argument that is ``D.`` the beginning of a list.
    """
    out, literal, indent = list[str](), False, 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        literal = literal and (not line.strip() or depth > indent)
        out.append(line if literal else plain(line))
        if not literal and line.rstrip().endswith("::"):
            literal, indent = True, depth
    return out


def plain(line: str) -> str:
    """One line of text that is no list, substitution or address."""
    line = re.sub(r"^(\s*(?::\w+ [^:]+: )?)([A-Za-z]\.)(?=\s|$)", r"\1\\\2", line)
    parts = re.split(r"(``.*?``)", line)
    return "".join(p if i % 2 else re.sub(r"(?<!\\)\||(?<=\w)@(?=\w)", r"\\\g<0>", p) for i, p in enumerate(parts))


def joined(line: str) -> str:
    """A field of several names, ``:param a, b:``, as one name; Sphinx would take all but the last for a type."""
    field = re.match(r"(\s*:(?:param|ivar) )([^:`]+, [^:`]+)(:.*)", line)
    return f"{field[1]}{field[2].replace(', ', ',')}{field[3]}" if field else line


def fences(markdown: str) -> list[str]:
    """The language of each fenced block, in order; a directive's name in braces, ``text`` where none is said."""
    out, closing = list[str](), ""
    for line in markdown.splitlines():
        fence = re.match(r"(`{3,}|:{3,})(.*)", line)
        if fence and closing:
            closing = "" if fence[1] == closing and not fence[2].strip() else closing
        elif fence:
            closing = fence[1]
            out.append(fence[2].strip() or "text")
    return out
