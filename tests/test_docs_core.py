"""The page on extending: what it prints passes the contract whole (that every page runs is tested elsewhere)."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_an_outsiders_model_passes_the_whole_contract():
    """BM3 in under 45 lines, and a PyG HeteroConv, as the page on extending prints them."""
    text = (DOCS / "extend.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len([line for line in blocks[0].splitlines() if line.strip()]) < 45
    names: dict = {"__name__": "__main__"}  # where dataclasses look their module up
    for block in blocks[:3]:
        exec(compile(block, "extend.md", "exec"), names)
    for contract in (names["TestMyBM3"](), names["TestMyHetero"]()):
        checks = [name for name in dir(contract) if name.startswith("test_")]
        assert len(checks) >= 9
        for name in checks:
            if name != "test_bf16_training_step":  # PyG's aggregation does not take mixed types
                getattr(contract, name)()


def test_the_page_on_migrating_prints_what_cornac_prints(tmp_path, monkeypatch, capsys):
    """Its EASE on its log, beside the number that Cornac 3.0.1 printed for the lists of its page."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "migrate.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    names: dict = {"__name__": "__main__"}
    needed = "from mmgraph.data import published_split\nfrom mmgraph.experiment import Experiment, run_all\n"
    for block in (blocks[0], needed + next(b for b in blocks if "def ease()" in b)):
        exec(compile(block, "migrate.md", "exec"), names)
    recall, ndcg = re.search(r"Recall@20 (\S+) and NDCG@20 (\.\d+)", text).groups()
    assert capsys.readouterr().out.splitlines()[-1] == f"{recall} 0{ndcg}"
