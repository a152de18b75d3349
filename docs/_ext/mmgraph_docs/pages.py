"""The generated pages: path below ``docs/reference`` -> reStructuredText."""

from __future__ import annotations

import functools
import inspect
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from mmgraph.experiment import Ledger, quoted
from mmgraph.experiment.tables import Cell
from mmgraph.models import Recommender
from mmgraph_docs.cards import FAMILIES, Card, own_lines, shared_blocks, transforms_named
from mmgraph_docs.rows import Entry, Row, by_protocol, epoch_costs
from mmgraph_docs.text import code, fences, heading, plain, table, tree

METRICS = ("recall@20", "ndcg@20")
NEW = r"new videos: Recall\@20"
SHOWN = {"recall@20": r"Recall\@20", "ndcg@20": r"NDCG\@20"}
# a name is documented with the first package that exports it
PACKAGES = (
    *("mmgraph", "mmgraph.data", "mmgraph.data.readers", "mmgraph.data.split", "mmgraph.data.synthetic"),
    *("mmgraph.features", "mmgraph.encoders", "mmgraph.graph", "mmgraph.ops", "mmgraph.nn", "mmgraph.nn.heads"),
    *("mmgraph.nn.temporal", "mmgraph.losses", "mmgraph.objectives", "mmgraph.models", "mmgraph.train"),
    *("mmgraph.recommend", "mmgraph.evaluate", "mmgraph.experiment", "mmgraph.audit", "mmgraph.report"),
    *("mmgraph.bundle", "mmgraph.serve.log", "mmgraph.distributed", "mmgraph.testing"),
)


# --- models -----------------------------------------------------------------------------------------------------------


def model_page(card: Card, entries: Sequence[Entry], rows: Sequence[Row]) -> str:
    """Docstring and signature, what is made when, what it is made of, results, cost."""
    mine = [e for e in entries if e.model == card.name]
    parts = [heading(card.name), f".. autoclass:: mmgraph.models.{card.name}\n   :members:\n"]
    parts += [heading("What is made when", "-"), _made(card), heading("What it is made of", "-"), _made_of(card)]
    parts += [heading("Results", "-"), _results(mine), heading("Cost of an epoch", "-"), _cost(card, rows)]
    return "\n".join(parts)


def _made(card: Card) -> str:
    if not (card.once or card.epoch or card.step):
        return "Not written yet: it belongs into ``docs/cards.toml``.\n"
    times = {"once": card.once, "each epoch": card.epoch, "each step": card.step}
    return "\n".join(f":{when}: {code(what) if what else 'nothing'}" for when, what in times.items()) + "\n"


def _made_of(card: Card) -> str:
    blocks = ", ".join(_block(b) for b in shared_blocks(card.model)) or "nothing shared"
    given = ", ".join(f":class:`~mmgraph.graph.{t}`" for t in transforms_named(card.model))
    facts = [f":shared blocks: {blocks}", *([f":transforms it names: {given}"] if given else [])]
    facts.append(f":own code: {own_lines(card.model)} lines, without documentation, imports and blank lines")
    return "\n".join(facts) + "\n"


def _block(name: str) -> str:
    """A block by its short name, linked where it is documented; one that is not exported, with its module."""
    module, _, short = name.rpartition(".")
    home = documented(short, getattr(import_module(module), short))
    return f":py:obj:`{short} <{home}>`" if home else f"``{name.removeprefix('mmgraph.')}``"


def _results(entries: Sequence[Entry]) -> str:
    if not entries:
        return "No committed row yet.\n"
    body = [
        [
            f":ref:`{e.protocol} <protocol-{e.protocol}>`",
            e.experiment,
            *_numbers(e),
            *_new(e),
            str(len(e.rows)),
            _chosen(e),
        ]
        for found in by_protocol(list(entries)).values()
        for e in found
    ]
    head = ["protocol", "row", *(SHOWN[m] for m in METRICS), NEW, "seeds", "chosen by"]
    return "On test, mean ± standard deviation over seeds.\n\n" + table(head, body)


def _numbers(entry: Entry) -> list[str]:
    return [_unbroken(entry.cell(m)) for m in METRICS]


def _new(entry: Entry) -> list[str]:
    return [_unbroken(entry.cell(METRICS[0], "cold"))]


def _unbroken(cell: Cell) -> str:
    return cell.text().replace(" ", "\N{NO-BREAK SPACE}")


def _chosen(entry: Entry) -> str:
    return plain(", ".join(how for how in ("searched" if entry.searched else "", entry.epoch_by) if how) or "–")


def _cost(card: Card, rows: Sequence[Row]) -> str:
    costs = epoch_costs(list(rows), card.name)
    if not costs:
        return "Not timed yet beside a plain port.\n"
    head = ["data", "by", "ms an epoch", "against mmgraph's", "width", "hardware", "commit"]
    body = [
        [
            *(r["shape"], f"``{r['impl']}``", f"{r['ms']:,.0f}", f"{r['times_mmgraph']:.2f}"),
            str(r["dim"]),
            r["hardware"],
            r["commit"][:7],
        ]
        for r in costs
    ]
    return table(head, body)


def models_index(cards: Sequence[Card]) -> str:
    """All models by family."""
    parts = [heading("A page a model"), "Each is made from the docstring, the source and the committed rows.\n"]
    for family, title in FAMILIES.items():
        mine = [c for c in cards if c.family == family]
        body = [[f":doc:`{c.name} <{c.name}>`", _first_line(c.model), str(own_lines(c.model))] for c in mine]
        parts += [heading(title, "-"), table(["model", "what", "own lines"], body)]
    return "\n".join([*parts, tree([c.name for c in cards], hidden=True)])


def _first_line(model: type[Recommender]) -> str:
    text = (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ")
    return plain(text)


def blocks_page(cards: Sequence[Card]) -> str:
    """Which shared block is in which models, read from the imports that their code uses."""
    users: dict[str, list[str]] = {}
    for card in cards:
        for block in shared_blocks(card.model):
            users.setdefault(block, []).append(card.name)
        for name in transforms_named(card.model):
            users.setdefault(f"mmgraph.graph.{name}", []).append(card.name)
    links = {c.name: f":doc:`{c.name} <models/{c.name}>`" for c in cards}
    body = [
        [_block(b), b.split(".")[1], str(len(names)), ", ".join(links[n] for n in names)]
        for b, names in sorted(users.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    words = "Read from what each model's own code uses of its imports; transforms, from its docstring and errors.\n"
    return "\n".join([heading("Shared blocks"), words, table(["block", "of", "models", "which"], body, "25 10 10 55")])


# --- results ----------------------------------------------------------------------------------------------------------


def leaderboard(entries: Sequence[Entry], ledger: Ledger, models: frozenset[str]) -> str:
    """Every committed result, one table a protocol, with what papers print under the same one."""
    words = (
        "From ``benchmarks/results``: test, mean ± standard deviation over seeds (none for one), full ranking.\n"
        "Compare within one protocol only; a smaller difference than seeds make is none. *Opened*: how often the row's "
        "test had been opened. *Chosen by*: the metric on valid that chose the epoch, – where nothing was trained; "
        "*searched* settings were found on valid, the others stand in the recipes, and :doc:`results </results>` says "
        "how they came. Quoted rows are what papers print, chosen on what their code or logs show.\n"
    )
    parts = [heading("Leaderboard"), words]
    for protocol, found in by_protocol(list(entries)).items():
        parts += [f".. _protocol-{protocol}:\n", heading(protocol, "-"), _about(found), _board(found, ledger, models)]
    return "\n".join(parts)


def _about(entries: Sequence[Entry]) -> str:
    data = entries[0].rows[0]["data"]
    sizes = ", ".join(f"{data[n]:,} {n}" for n in ("users", "videos", "train", "valid", "test") if n in data)
    rows = [r for e in entries for r in e.rows]
    where = sorted({r["environment"]["hardware"]["cpu"] for r in rows})
    commits = sorted({r["environment"]["commit"][:7] for r in rows})
    method = data["protocol"]["method"]
    return f"{data['name']}, {sizes}; ``{method}``. On {', '.join(where)}, at {', '.join(commits)}.\n"


def _board(entries: Sequence[Entry], ledger: Ledger, models: frozenset[str]) -> str:
    cold = any(e.has(METRICS[0], "cold") for e in entries)
    head = ["row", "model", *(SHOWN[m] for m in METRICS), *([NEW] if cold else [])]
    head += ["seeds", "seconds", "chosen by", "opened"]
    body = []
    for e in entries:
        link = f":doc:`{e.model} <models/{e.model}>`" if e.model in models else e.model
        more = _new(e) if cold else []
        body.append([e.experiment, link, *_numbers(e), *more, str(len(e.rows)), _seconds(e), _chosen(e), str(e.opened)])
    published, chosen = quoted(ledger, entries[0].protocol)
    for name, numbers in published.items():
        cells = [Cell(numbers.get(m, math.nan), math.nan).text() for m in METRICS]
        more = ["–"] if cold else []
        body.append([f"*{name}*", "quoted", *cells, *more, "–", "–", chosen[name], "–"])
    return table(head, body)


def _seconds(entry: Entry) -> str:
    seconds = entry.training("seconds")
    return "–" if seconds is None else f"{seconds:.2g}" if seconds < 10 else f"{seconds:,.0f}"


def code_page(texts: Mapping[str, str]) -> str:
    """How many blocks each page has, and how many of them are run: name of the page -> its Markdown."""
    counts = {name: Counter(fences(text)) for name, text in sorted(texts.items())}
    shown = {name: {k: n for k, n in found.items() if k[0] != "{"} for name, found in counts.items()}
    body = [
        [
            f":doc:`/{name}`",
            str(found.get("python", 0)),
            ", ".join(f"{n} {k}" for k, n in found.items() if k != "python"),
        ]
        for name, found in shown.items()
        if found
    ]
    run = sum(found.get("python", 0) for found in shown.values())
    every = sum(sum(found.values()) for found in shown.values())
    words = (
        f"{every} blocks on {len(body)} pages; {run} of them, all that are Python of ours, are run in order and word "
        "for word by ``tests/test_examples.py``. The others are commands, output, and settings of other programs.\n"
    )
    return "\n".join([heading("Code on these pages"), words, table(["page", "Python, run", "shown"], body)])


# --- API --------------------------------------------------------------------------------------------------------------


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
