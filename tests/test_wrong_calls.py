"""Thirty and more wrong calls of the API: each is a message that names the thing and the fix; none is silent."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

import mmgraph
from mmgraph.data import Dataset, Features, global_time_split, random_split
from mmgraph.evaluate import EvalConfig, evaluate, evaluate_test
from mmgraph.experiment import Experiment, compare, load, run, table
from mmgraph.graph import build_graph
from mmgraph.models import EASE, FREEDOM, HeteroMMGCN, LightGCN
from mmgraph.recommend import recommend, recommend_ids
from mmgraph.report import report_of_results
from mmgraph.train import FitConfig, fit

VIDEOS = pl.DataFrame({"video_id": [f"v{v}" for v in range(12)]})


@pytest.fixture(scope="module")
def at() -> SimpleNamespace:
    """A dataset, its split, graph and models: what the calls below are made with."""
    pairs = [(f"u{u}", f"v{v}", 10 * v + u) for u in range(8) for v in range(12) if (u + v) % 2 == 0]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id", "timestamp"], orient="row")
    dataset = Dataset.from_frames(frame, videos=VIDEOS, features={"visual": Features(torch.randn(12, 4))}, name="toy")
    split = random_split(dataset, seed=0)
    graph = build_graph(split)
    torch.manual_seed(0)
    return SimpleNamespace(dataset=dataset, split=split, graph=graph, model=LightGCN(graph, embedding_dim=4))


def experiment(**changes: Any) -> Experiment:
    return Experiment(**{"name": "x", "split": lambda: None, "model": LightGCN} | changes)


CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "graph of a dataset": (lambda at: build_graph(at.dataset), r"build_graph takes a Split, got a Dataset: split it"),
    "graph of nothing": (lambda at: build_graph(None), r"build_graph takes a Split, got a NoneType"),
    "graph of a stage": (lambda at: build_graph(at.split, "tset"), r"stage.*tset"),
    "graph without a modality": (lambda at: build_graph(at.split, modalities=["smell"]), r"smell"),
    "model of a split": (lambda at: LightGCN(at.split), r"LightGCN takes a graph, got a Split: give it build_graph"),
    "model of a dataset": (lambda at: LightGCN(at.dataset), r"LightGCN takes a graph, got a Dataset"),
    "misspelt argument": (lambda at: LightGCN(at.graph, layers=2), r"no argument 'layers'; did you mean 'num_layers'"),
    "unknown modality": (lambda at: HeteroMMGCN(at.graph, modalities=["smell"]), r"smell.*visual"),
    "no kNN yet": (lambda at: FREEDOM(at.graph), r"ModalityKNN"),
    "split of a graph": (lambda at: global_time_split(at.graph), r"Dataset.*MultimodalGraph|MultimodalGraph.*Dataset"),
    "split of a path": (lambda at: random_split("DATA"), r"Dataset.*str|str.*Dataset"),
    "split of a split": (lambda at: random_split(at.split), r"Dataset"),
    "table of a list": (lambda at: Dataset.from_frames([1, 2]), r"a list is not a table"),
    "table without users": (lambda at: Dataset.from_frames(pl.DataFrame({"a": [1]})), r"user_id.*missing"),
    "device as config": (lambda at: evaluate(at.model, at.graph, at.split.valid, "cuda"), r"write device='cuda'"),
    "split as targets": (lambda at: evaluate(at.model, at.graph, at.split), r"split\.valid"),
    "split as graph": (lambda at: evaluate(at.model, at.split, at.split.valid), r"build_graph\(split\)"),
    "class as model": (lambda at: evaluate(LightGCN, at.graph, at.split.valid), r"made and fitted; got LightGCN"),
    "unfitted model": (lambda at: evaluate(EASE(at.graph), at.graph, at.split.valid), r"EASE was not fitted"),
    "sealed test": (lambda at: at.split.test, r"sealed.*evaluate_test"),
    "test of a dataset": (lambda at: evaluate_test(at.model, at.graph, at.dataset, "x"), r"Split"),
    "fit on a split": (lambda at: fit(at.model, at.split), r"fit takes a graph second, got a Split"),
    "fit of a class": (lambda at: fit(LightGCN, at.graph), r"class LightGCN: make it, as LightGCN\(graph\)"),
    "config as validate": (lambda at: fit(at.model, at.graph, FitConfig(epochs=1)), r"config="),
    "config as a dict": (lambda at: fit(at.model, at.graph, config={"epochs": 1}), r"FitConfig\(epochs=10\)"),
    "validate gives an Evaluation": (
        lambda at: fit(
            at.model,
            at.graph,
            validate=lambda m: evaluate(m, at.graph, at.split.valid),
            config=FitConfig(epochs=1, eval_every=1),
        ),
        r"validate gave .*\[\"all\"\]",
    ),
    "lr": (lambda at: FitConfig(lr=1e-2), r"FitConfig has no setting 'lr'; did you mean 'learning_rate'"),
    "epochs below 0": (lambda at: FitConfig(epochs=-1), r"epochs must be greater than or equal to 0; got -1"),
    "settings by place": (lambda at: FitConfig(30), r"by name"),
    "a device that is none": (lambda at: FitConfig(device="gpu"), r"gpu"),
    "k of 0": (lambda at: EvalConfig(k=(0,)), r"k needs at least one cut-off"),
    "a group that is none": (lambda at: EvalConfig(groups=("worm",)), r"groups.*'cold'.*worm"),
    "argument of the model": (lambda at: experiment(model_args={"layer": 2}), r"'layer'; did you mean 'num_layers'"),
    "no model": (lambda at: experiment(model="LightGCN"), r"Experiment\.model must be"),
    "a name that is no folder": (lambda at: experiment(name="a/b"), r"becomes a folder"),
    "a monitor of nothing": (lambda at: experiment(fit=FitConfig(monitor="recall@21")), r"recall@21"),
    "a variant of nothing": (lambda at: experiment().variant({"fitt.epochs": 1}), r"no field 'fitt'"),
    "run of a model": (lambda at: run(at.model), r"Experiment"),
    "unknown user": (lambda at: recommend_ids(at.model, at.graph, at.dataset, ["u99"]), r"unknown user 'u99'"),
    "rows beyond": (lambda at: recommend(at.model, at.graph, [99]), r"99"),
    "no runs": (lambda at: table([]), r"no results"),
    "nothing to compare": (lambda at: compare([], []), r"at least one result"),
    "nothing to report": (lambda at: report_of_results([]), r"no results"),
    "no folder": (lambda at: load("nowhere"), r"nowhere: no such folder"),
    "a name the library lacks": (lambda at: mmgraph.build_grap, r"did you mean 'build_graph'"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_names_the_thing(at: SimpleNamespace, name: str) -> None:
    call, says = CALLS[name]
    wanted = (ValueError, TypeError, KeyError, IndexError, AttributeError, FileNotFoundError, RuntimeError)
    with pytest.raises(wanted, match=says) as said:
        call(at)
    foreign = ("pydantic", "object has no attribute", "positional argument", "is not subscriptable", "For further")
    assert not any(word in str(said.value) for word in foreign)
