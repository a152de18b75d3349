"""What a person meets at the prompt: names that complete, short reprs, tables for notebooks and for pandas."""

from __future__ import annotations

import ast
import types
from pathlib import Path

import polars as pl
import pytest
import torch

import mmgraph
from mmgraph.data import Dataset, Features, random_split
from mmgraph.evaluate import evaluate
from mmgraph.experiment import Experiment, Result, table
from mmgraph.graph import build_graph
from mmgraph.models import LightGCN, Popularity
from mmgraph.train import FitConfig

ROOT = Path(__file__).parents[1]


def test_dir_lists_every_name_and_room_and_each_is_there() -> None:
    names = dir(mmgraph)
    assert {"build_graph", "fit", "Dataset", "data", "models", "report", "recipes"} <= set(names)
    for name in names:
        assert getattr(mmgraph, name) is not None
    assert isinstance(mmgraph.models, types.ModuleType)
    assert not hasattr(mmgraph, "__wrapped__")


def test_what_is_lazy_is_told_to_editors_too() -> None:
    tree = ast.parse((ROOT / "mmgraph" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == set(mmgraph.__all__) - {"__version__"}
    assert (ROOT / "mmgraph" / "py.typed").is_file()


VIDEOS = pl.DataFrame({"video_id": [f"v{v}" for v in range(12)]})


@pytest.fixture(scope="module")
def split():
    pairs = [(f"u{u}", f"v{v}") for u in range(8) for v in range(12) if (u + v) % 2 == 0]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
    return random_split(
        Dataset.from_frames(frame, videos=VIDEOS, features={"visual": Features(torch.randn(12, 4))}, name="toy")
    )


def test_reprs_are_short_and_tell_sizes_and_settings(split) -> None:
    graph = build_graph(split)
    model = LightGCN(graph, embedding_dim=4, num_layers=2)
    assert repr(model) == "LightGCN(embedding_dim=4, num_layers=2): 80 parameters"
    assert repr(split.dataset.features["visual"]) == "Features(12 x 4, 12 present)"
    experiment = Experiment(name="x", split=lambda: split, model=LightGCN, fit=FitConfig(epochs=3), seeds=(0, 1))
    assert repr(experiment).startswith("Experiment('x'")
    assert "LightGCN" in repr(experiment)
    popular = Popularity(graph)
    popular.solve(graph)
    shown = evaluate(popular, graph, split.valid)
    for thing in (split.dataset, split, graph, model, experiment, shown):
        assert len(repr(thing)) < 700


def result(name: str, seed: int, recall: float) -> Result:
    test = {"all": {"recall@20": recall, "ndcg@20": 0.1}, "<b>": {"auc": 0.5}}
    return Result(experiment=name, protocol="p-1", seed=seed, valid=test, test=test, config={}, environment={}, data={})


def test_results_and_tables_show_in_notebooks_and_go_to_pandas() -> None:
    one = result("ours", 0, 0.25)
    assert repr(one) == "Result('ours', seed 0, p-1: test recall@20 0.2500, ndcg@20 0.1000)"
    assert "<th>&lt;b&gt;</th>" in one._repr_html_()
    assert "<td>0.2500</td>" in one._repr_html_()
    made = table([one, result("ours", 1, 0.35), result("<i>", 0, 0.1)], ["recall@20"])
    assert "<td>.3000 ± .0707</td>" in made._repr_html_()  # nothing of each user: not bold
    assert "&lt;i&gt;" in made._repr_html_()
    pytest.importorskip("pandas")
    frame = made.to_pandas()
    assert frame["model"].tolist() == ["ours", "<i>"]
    assert frame["recall@20"].tolist() == pytest.approx([0.3, 0.1])
    assert frame["recall@20 std"][0] == pytest.approx(0.0707, abs=1e-4)
    assert frame["seeds"].tolist() == [2, 1]
