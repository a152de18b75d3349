"""Every example runs, and every Python block of README and docs too: what a reader copies must work."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.name)
def test_example_runs(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    namespace = runpy.run_path(str(script), run_name="example")
    namespace["main"]()
    assert capsys.readouterr().out.strip(), "an example shows something"


# what the page's model has to survive
TRAINED = """
import polars as pl
from mmgraph.data import Dataset, random_split
from mmgraph.graph import build_graph
from mmgraph.train import FitConfig, fit

pairs = [(u, v) for u in range(9) for v in range(9) if (u + v) % 2]
pairs = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
graph = build_graph(random_split(Dataset.from_frames(pairs)))
report = fit(LastGCN(graph, embedding_dim=4), graph, config=FitConfig(epochs=5, learning_rate=0.1))
assert report.history[-1]["loss/bpr"] < report.history[0]["loss/bpr"]
"""


def blocks(page: Path) -> str:
    """The page's Python blocks as one script; a block whose fence says `python notest` is left out."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S))


@pytest.fixture(scope="session")
def media_folder(tmp_path_factory) -> Path:
    """A tiny world with media: what the pages call DATA."""
    from mmgraph.data.synthetic import WorldConfig, generate, render, write

    world = generate(WorldConfig(users=60, videos=60, days=20))
    return render(world, write(world, tmp_path_factory.mktemp("media") / "DATA"), frames=2)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_code_of_the_docs_runs(page, tmp_path, media_folder):
    """Pages read the reader's own media folder as ``DATA``; here that is a tiny generated one."""
    if '"DATA' in blocks(page):
        shutil.copytree(media_folder, tmp_path / "DATA")
    script = tmp_path / "page.py"
    script.write_text(blocks(page) + (TRAINED if page.name == "CONTRIBUTING.md" else ""))
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
