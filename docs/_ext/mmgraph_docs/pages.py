"""The pages of the models, of what they share, and of the code in the documentation, as reStructuredText."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module

from mmgraph.models import Recommender
from mmgraph_docs.api import documented
from mmgraph_docs.boards import results
from mmgraph_docs.cards import FAMILIES, Card, own_lines, shared_blocks, transforms_named
from mmgraph_docs.rows import Entry, Row, commit_of, curves, epoch_costs, is_curve_of
from mmgraph_docs.text import code, fences, heading, plain, table, tree


def model_page(card: Card, entries: Sequence[Entry], rows: Sequence[Row]) -> str:
    """Docstring and signature, what is made when, what it is made of, results, cost."""
    mine = [e for e in entries if e.model == card.name]
    parts = [heading(card.name), f".. autoclass:: mmgraph.models.{card.name}\n   :members:\n"]
    parts += [heading("What is made when", "-"), _made(card), heading("What it is made of", "-"), _made_of(card)]
    parts += [
        heading("Results", "-"),
        results(mine, _points(card, rows)),
        heading("Cost of an epoch", "-"),
        _cost(card, rows),
    ]
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


def _points(card: Card, rows: Sequence[Row]) -> list[Row]:
    return [r for found in curves(list(rows)).values() for r in found if is_curve_of(r, card.name)]


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
            commit_of(r),
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
