"""The home page of the docs: its code prints what the page says (that every page runs is tested elsewhere)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def run(page: str) -> list[str]:
    """Runs the blocks of a page in order."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.S)
    names: dict = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), names)
    return blocks


def test_the_home_page_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(run("index")) == 3
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    shown = re.findall(r"```text\n(.*?)```", text, re.S)
    assert len(shown) == 3
    assert capsys.readouterr().out == "".join(shown)
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (DOCS / picture).is_file()
