"""The generated pages of the documentation: what they say is what the code and the committed rows say."""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

from mmgraph_docs.boards import leaderboard  # noqa: E402
from mmgraph_docs.cards import exported_models, own_lines, read_cards, shared_blocks, transforms_named  # noqa: E402
from mmgraph_docs.pages import blocks_page, code_page, model_page  # noqa: E402
from mmgraph_docs.pictures import bar_chart, gallery, pictures  # noqa: E402
from mmgraph_docs.rows import by_protocol, curves, entries, epoch_costs, read_rows  # noqa: E402
from mmgraph_docs.text import code, escaped, fences, joined  # noqa: E402

from mmgraph.experiment import Ledger, read_ledger  # noqa: E402
from mmgraph.models import BPRMF, FREEDOM, MENTOR, LightGCN, Popularity  # noqa: E402
from mmgraph.recipes import suites  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
WITHOUT_PAPER = {"Popularity", "ContentKNN", "ContentMean", "ContentVAE", "Hybrid", "HeteroMMGCN", "TemporalGraph"}


def row(experiment: str, seed: int, recall: float, *, protocol: str = "toy-1", **more) -> dict:
    """A result row as runs write them, with what the pages read."""
    training = {"seconds": 10.0 * (seed + 1), "best_epoch": 3} | more.pop("training", {})
    config = {"model": "mmgraph.models.multimodal.freedom:FREEDOM", "fit": {"monitor": "recall@20"}}
    data = {"name": "toy", "users": 3, "videos": 4, "train": 5, "protocol": {"method": "random_split"}}
    environment = {"commit": "0123456789abcdef", "hardware": {"cpu": "a cpu"}}
    test = {"all": {"recall@20": recall, "ndcg@20": recall / 2}} | more.pop("test", {})
    values = {"experiment": experiment, "seed": seed, "protocol": protocol, "openings": [{}], "source": "a:b"}
    return values | dict(training=training, config=config, data=data, environment=environment, test=test) | more


# --- cards ------------------------------------------------------------------------------------------------------------


def test_every_model_has_a_card_and_a_paper():
    cards = read_cards(ROOT / "docs" / "cards.toml")
    assert [c.model for c in cards] == exported_models()
    assert len(cards) > 50
    assert sum(bool(c.once or c.epoch or c.step) for c in cards) > 50
    without = {c.name for c in cards if not re.search(r"https://(doi\.org|arxiv\.org|papers)", c.model.__doc__ or "")}
    assert without == WITHOUT_PAPER


def test_a_card_of_no_model_is_named(tmp_path):
    text = (ROOT / "docs" / "cards.toml").read_text()
    (tmp_path / "cards.toml").write_text(text.replace("[FREEDOM]", "[FREEDON]"))
    with pytest.raises(ValueError, match=r"no model for \['FREEDON'\]"):
        read_cards(tmp_path / "cards.toml")
    (tmp_path / "none.toml").write_text("")
    assert "Not written yet" in model_page(read_cards(tmp_path / "none.toml")[0], [], [])


def test_transforms_of_the_cards_are_those_the_docstring_names():
    for card in read_cards(ROOT / "docs" / "cards.toml"):
        named = set(re.findall(r"`([A-Z]\w+)`", card.once + card.epoch))
        inherited = {t for m in card.model.__mro__ if m in exported_models() for t in transforms_named(m)}
        assert named <= inherited, card.name


def test_own_lines_leave_out_words_and_other_models(tmp_path, monkeypatch):
    (tmp_path / "counted.py").write_text(
        '"""Words."""\n\nimport math\n\nUNUSED = 1\n\n\n'
        'class Model:\n    """Words\n    of two lines."""\n\n    # a remark\n'
        "    def encode(self):\n"
        '        """Words."""\n'
        "        return helper(\n            math.pi\n        )\n\n\n"
        "def helper(x):\n    return x\n\n\ndef other(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import counted

    assert own_lines(counted.Model) == 1 + 1 + 3 + 2  # class, encode, its return, the helper


def test_what_models_are_made_of():
    nn = "mmgraph.nn.projection.projections", "mmgraph.nn.propagation.last_layer"
    assert shared_blocks(FREEDOM) == ["mmgraph.models.multimodal.base.WithIds", *nn, "mmgraph.ops.propagate"]
    assert transforms_named(FREEDOM) == ["EdgeDrop", "ModalityKNN"]
    assert shared_blocks(BPRMF) == ["mmgraph.models.collaborative.lightgcn.LightGCN"]
    assert shared_blocks(LightGCN) == ["mmgraph.losses.embedding_l2", "mmgraph.ops.propagate"]
    assert "mmgraph.losses.moment_alignment" in shared_blocks(MENTOR)
    assert shared_blocks(Popularity) == []


def test_the_table_of_blocks_has_every_pair_once():
    cards = read_cards(ROOT / "docs" / "cards.toml")
    page = blocks_page(cards)
    pairs = sum(len(shared_blocks(c.model)) + len(transforms_named(c.model)) for c in cards)
    assert len(re.findall(r":doc:`\w+ <models/\w+>`", page)) == pairs
    counts = [int(n) for n in re.findall(r"^     - (\d+)$", page, flags=re.M)]
    assert sum(counts) == pairs
    assert counts == sorted(counts, reverse=True)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_seeds_are_averaged_and_the_best_comes_first():
    rows = [row("low", 0, 0.1), row("high", 0, 0.2), row("high", 1, 0.3), row("other", 0, 0.9, protocol="toy-2")]
    found = by_protocol(entries(rows))
    assert {p: [e.experiment for e in es] for p, es in found.items()} == {"toy-1": ["high", "low"], "toy-2": ["other"]}
    high, low = found["toy-1"]
    assert high.cell("recall@20").mean == pytest.approx(0.25)
    assert high.cell("recall@20").std == pytest.approx(math.sqrt(0.005))  # n - 1
    assert math.isnan(low.cell("recall@20").std)
    assert high.cell("recall@20").text() == ".2500 ± .0707"
    assert high.training("seconds") == 15.0
    assert low.cell("recall@20", "cold").text() == "–"
    assert high.epoch_by == "recall@20"
    for training, by in (({"best_epoch": 0}, "recall@20"), ({"best_epoch": -1}, ""), ({"stopped": "closed form"}, "")):
        assert entries([row("x", 0, 0.1, training=training)])[0].epoch_by == by


def test_a_seed_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="high under toy-1: a seed twice"):
        entries([row("high", 0, 0.2), row("high", 0, 0.3)])


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"op": 1}\n{"op":\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2"):
        read_rows(tmp_path)


def test_of_timed_epochs_the_newest_count():
    old = {"op": "epoch-freedom", "shape": "toy", "impl": "mmgraph-cpu", "date": "2026-01-01", "ms": 9.0}
    new, port = old | {"date": "2026-01-02", "ms": 7.0}, old | {"impl": "a-port", "ms": 30.0}
    assert [r["ms"] for r in epoch_costs([new, old, port], "FREEDOM")] == [7.0, 30.0]
    assert epoch_costs([new], "LightGCN") == []


def test_the_leaderboard_holds_every_committed_result_and_its_number():
    rows = read_rows(RESULTS)
    page = leaderboard(entries(rows), rows, read_ledger(ROOT / "benchmarks" / "claims.toml"), frozenset({"FREEDOM"}))
    sections = dict(re.findall(r"\.\. _protocol-(\S+):\n(.*?)(?=\.\. _protocol-|\.\. _curve-|\Z)", page, flags=re.S))
    values: dict[tuple[str, str], list[float]] = {}
    for line in (line for p in RESULTS.glob("*.jsonl") for line in p.read_text().splitlines()):
        r = json.loads(line)
        if "experiment" in r:
            values.setdefault((r["protocol"], r["experiment"]), []).append(r["test"]["all"]["recall@20"])
    assert set(sections) == {protocol for protocol, _ in values}
    for (protocol, name), seeds in values.items():
        shown = f"{statistics.fmean(seeds):.4f}".removeprefix("0")
        assert re.search(rf"^   \* - {name}\n     - .*\n     - {re.escape(shown)}", sections[protocol], flags=re.M), (
            name
        )
    assert ":doc:`FREEDOM <models/FREEDOM>`" in page
    assert "quoted" in sections["tiktok-hkuds-ff5456ee"]
    assert "quoted" not in sections["beauty-loo-c6d46da5"]


def test_time_to_quality_has_its_own_table_and_stands_on_the_models_page():
    about = {
        "data": "gowalla",
        "stage": "test",
        "ndcg@20": 0.15,
        "hardware": "a cpu",
        "commit": "abcdefghi",
        "command": "c",
    }
    old, new, solved = (
        {"impl": "lightgcn-bsl", "epochs": 12, "seconds": 250.0, "recall@20": 0.18} | about for _ in range(3)
    )
    new |= {"recall@20": 0.19}
    solved |= {"impl": "gfcf", "epochs": 0, "seconds": 3.5}
    rows = [old, new, solved, old | {"stage": "valid", "epochs": 99}]
    assert {data: [(r["impl"], r["recall@20"]) for r in found] for data, found in curves(rows).items()} == {
        "gowalla": [("gfcf", 0.18), ("lightgcn-bsl", 0.19)]
    }
    page = leaderboard([], rows, read_ledger(ROOT / "benchmarks" / "claims.toml"), frozenset())
    assert "- lightgcn-bsl\n     - 12\n     - 250.0\n     - .1900\n     - .1500" in page
    assert "- gfcf\n     - –\n     - 3.5" in page
    assert "- abcdefg\n" in page
    assert "abcdefg+" not in page
    changed = [new | {"changed_since_commit": True}]
    assert "- abcdefg+\n" in leaderboard([], changed, Ledger(), frozenset())
    assert "LightGCN, SIGIR 2020" in page
    cards = {c.name: c for c in read_cards(ROOT / "docs" / "cards.toml")}
    assert "lightgcn-bsl" in model_page(cards["LightGCN"], [], rows)
    assert "lightgcn" not in model_page(cards["LightGCNPP"], [], rows).partition("Results")[2]


def test_a_models_page_shows_its_rows_alone():
    card = next(c for c in read_cards(ROOT / "docs" / "cards.toml") if c.name == "FREEDOM")
    other = row("another", 0, 0.4)
    other["config"] = other["config"] | {"model": "m:LightGCN"}
    page = model_page(card, entries([row("mine", 0, 0.25), other]), [])
    assert "- mine\n     - .2500" in page
    assert "another" not in page
    assert ":each epoch: edges thinned, by ``EdgeDrop``" in page
    assert "No committed row yet" in model_page(card, entries([other]), [])


# --- pictures and text ------------------------------------------------------------------------------------------------


def test_bars_are_as_long_as_their_numbers():
    svg = bar_chart("time & more", {"mmgraph-cpu": 2.0, "port": 8.0})
    assert [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', svg)] == [75.0, 300.0]
    assert "time &amp; more" in svg
    with pytest.raises(ValueError, match="positive"):
        bar_chart("nothing", {})


def test_the_gallery_draws_what_is_there():
    rows = [row(name, seed, 0.1 * seed + 0.1) for name in ("a", "b", "c") for seed in (0, 1)]
    drawn = pictures(entries(rows), [*rows, {"model": "m", "rates": [0.0, 0.5], "recall@20": [0.4, 0.2]}])
    assert [p.name for p in drawn] == ["cost-toy-1", "missing"]
    assert all(p.svg.lstrip().startswith(("<?xml", "<svg")) for p in drawn)
    assert gallery(drawn).count(".. image::") == 2
    assert pictures(entries(rows[:2]), []) == []


def test_docstrings_become_text():
    lines = ["Σ |u|² of recall@20, ``|v|``::", "", "    a | b", "", "then |w|", ":param dim: D.", ":param n:", "    N."]
    assert escaped(lines) == [
        *(r"Σ \|u\|² of recall\@20, ``|v|``::", "", "    a | b", "", r"then \|w\|"),
        *(r":param dim: \D.", ":param n:", r"    \N."),
    ]
    assert escaped(escaped(["|u|"])) == [r"\|u\|"]
    assert joined(":ivar a, b: both.") == ":ivar a,b: both."
    assert joined(":param int a: one.") == ":param int a: one."
    assert code("by `EdgeDrop` and ``x``") == "by ``EdgeDrop`` and ``x``"


def test_every_python_block_is_run_and_counted():
    """What the page on code calls run is what tests/test_examples.py takes from each page."""
    texts = {page.stem: page.read_text() for page in (ROOT / "docs").glob("*.md")}
    run = {name: len(re.findall(r"^```python\n.*?^```", text, flags=re.M | re.S)) for name, text in texts.items()}
    assert {name: fences(text).count("python") for name, text in texts.items()} == run
    kinds = {kind for text in texts.values() for kind in fences(text)}
    assert not [kind for kind in kinds if kind.startswith("python ") or kind in ("py", "pycon")], (
        "Python that is not run"
    )
    page = code_page(texts)
    assert f"; {sum(run.values())} of them" in page
    for name, count in run.items():
        assert not count or f":doc:`/{name}`\n     - {count}\n" in page


def test_fences_are_told_from_what_they_hold():
    assert fences("```python\nx = '```'\n```\n````md\n```python\n```\n````\n```\na\n```\n```{toctree}\n```") == [
        *("python", "md", "text", "{toctree}")
    ]


def test_the_page_on_reproducing_names_every_suite():
    public = {name for name, f in vars(suites).items() if getattr(f, "__module__", "") == suites.__name__}
    public = {name for name in public if name[0] != "_" and getattr(suites, name).__annotations__["return"] == "Suite"}
    text = (ROOT / "docs" / "reproduce.md").read_text()
    assert set(re.findall(r"mmgraph bench (\w+)[`& ]", text)) - {"SUITE"} == public


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_first_pages_lead_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_can_be_reached():
    """Sphinx itself refuses what no toctree holds, and broken links: here, that it is told to."""
    conf = (ROOT / "docs" / "conf.py").read_text()
    assert "suppress_warnings" not in conf
    assert "nitpicky = True" in conf
    assert "-W" in (ROOT / "Makefile").read_text()
