"""One hash of all that determines the numbers: equal where they are, different where anything is."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mmgraph.data import Dataset, Features, random_split
from mmgraph.data.files import DamagedFile
from mmgraph.experiment import Experiment, Identity, describe, run
from mmgraph.experiment.identity import hash_graph, hash_of, identify, read_identity, write_identity
from mmgraph.graph import EdgeDrop, Exposures, build_graph
from mmgraph.models import LightGCN
from mmgraph.train import FitConfig
from tests.experiment.toys import Dots, toy, toy_split, world


def text(value):
    return json.dumps(describe(value, portable=True), sort_keys=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Weighs:
    weight: object

    def __call__(self, graph, generator=None):
        return graph


class Plain:
    def __init__(self, value):
        self._value = value

    @functools.cached_property
    def costly(self):
        return self._value

    def method(self):
        return self._value


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Shaped(FitConfig):
    pass


def closed_over(value):
    def split():
        return value

    return split


DIFFERENT = [
    (torch.zeros(1000), torch.zeros(1000).index_fill_(0, torch.tensor(500), 1)),  # alike in print
    (torch.zeros(2, 3), torch.zeros(3, 2)),
    (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    (torch.eye(3).to_sparse(), torch.zeros(3, 3).to_sparse()),
    (torch.eye(3).to_sparse_csr(), (2 * torch.eye(3)).to_sparse_csr()),
    (np.arange(2000), np.arange(2000)[::-1]),
    (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
    (pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1, 3]})),
    (pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"b": [1, 2]})),
    (pl.Series(["x", None]), pl.Series(["x", "y"])),
    (b"a", b"b"),
    (Weighs(torch.zeros(5000)), Weighs(torch.ones(5000))),
    (Plain(1), Plain(2)),
    (Plain(torch.zeros(5000)), Plain(torch.ones(5000))),
    (Plain(1).method, Plain(2).method),
    (Slotted(1), Slotted(2)),
    (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
    (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
    (functools.partial(Weighs, weight=1), functools.partial(Weighs, weight=2)),
    (lambda g: g + 1, lambda g: g + 2),
    (lambda g, a=1: g + a, lambda g, a=2: g + a),
    (closed_over(1), closed_over(2)),
    (datetime.timedelta(1), datetime.timedelta(2)),
    (float("nan"), float("inf")),
    ({1: 2}, {"1": 2}),
    (FitConfig(epochs=1), Shaped(epochs=1)),
    ({"class": 1}, {"class": 2}),
    (True, 1),
    ([1, [2]], [[1], 2]),
    ({1, 2}, {1, 3}),
    (1 + 2j, 1 + 3j),
    (Path("a"), Path("b")),
]


@pytest.mark.parametrize("number", range(len(DIFFERENT)))
def test_different_values_never_have_one_description(number):
    one, two = DIFFERENT[number]
    assert text(one) != text(two)
    assert text(one) == text(one)
    assert json.loads(text(one)) == describe(one, portable=True)


def test_equal_values_have_one_description():
    table = torch.arange(6.0).reshape(2, 3)
    assert text(table.T) == text(table.T.contiguous())
    assert text(table.to_sparse()) == text(torch.stack([table, table * 0]).sum(0).to_sparse().coalesce())
    assert text({"a": 1, "b": 2}) == text({"b": 2, "a": 1})
    assert text((1, 2)) == text([1, 2])
    halves = pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False)
    assert text(halves) == text(pl.DataFrame({"a": [1, 2]}))
    used = Plain(3)
    _ = used.costly  # a value cached on the way is no state
    assert text(used) == text(Plain(3))
    assert text(np.float64(0.5)) == text(0.5)
    twice = (1, 2)
    assert text([twice, twice]) == text([(1, 2), [1, 2]])
    loop: list = [1]
    loop.append(loop)
    assert text(loop) == text(loop)
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1}) != hash_of({"a": 1, "b": 3})
    assert len(hash_of(1, size=8)) == 16


def test_what_cannot_be_told_apart_is_refused_by_name():
    with pytest.raises(TypeError, match=r"_thread\.lock cannot be told from another one"):
        describe(Plain(threading.Lock()))


def test_code_is_named_and_may_move():
    assert describe(Dots) == f"{Dots.__module__}:Dots"
    assert describe(Dots, portable=True) == "Dots"
    assert describe(LightGCN, portable=True) == "mmgraph:LightGCN"
    assert describe(functools.cache(toy_split), portable=True) == "toy_split"
    source = Path(__file__).with_name("toys.py").read_text()
    ids = set()
    for module in ("recipes", "recipes_renamed"):
        names: dict = {"__name__": module}
        exec(compile(source, f"/somewhere/{module}.py", "exec"), names)
        ids.add(names["toy"]().identity(0).id)
    assert ids == {toy().identity(0).id}


def variants() -> dict[str, Experiment]:
    shown = torch.arange(4)
    weights = [torch.zeros(3000), torch.ones(3000)]
    return {
        "plain": toy(),
        "width": toy(model_args={"embedding_dim": 8}),
        "scale": toy(model_args={"scale": 0.2}),
        "rate": toy().variant({"fit.learning_rate": 0.06}),
        "decay": toy().variant({"fit.weight_decay": 1e-4}),
        "epochs": toy().variant({"fit.epochs": 4}),
        "k": toy().variant({"evaluate.k": (5,)}),
        "one tensor": toy(transforms=(Weighs(weights[0]),)),
        "another tensor": toy(transforms=(Weighs(weights[1]),)),
        "each epoch": toy(epoch_transforms=(EdgeDrop(0.1),)),
        "each epoch more": toy(epoch_transforms=(EdgeDrop(0.2),)),
        "exposed": toy(transforms=(Exposures(shown, shown, shown.double(), shown > 1, transductive=True),)),
        "other split": toy(split=lambda: random_split(world(), seed=1)),
        "other ratios": toy(split=lambda: random_split(world(), (0.7, 0.1, 0.2), seed=0)),
        "features": toy(split=lambda: random_split(with_features(0.0))),
        "other features": toy(split=lambda: random_split(with_features(1.0))),
    }


def with_features(value: float) -> Dataset:
    return world().with_features(visual=Features(torch.full((world().num_videos, 2), value)))


def test_everything_that_determines_the_numbers_is_in_the_identity():
    ids = {name: experiment.identity(0).id for name, experiment in variants().items()}
    assert len(set(ids.values())) == len(ids)
    assert toy().identity(1).id != ids["plain"]
    assert identify(toy(), 0, toy_split()).id == ids["plain"]


def test_what_changes_no_number_is_not():
    plain = toy().identity(0).id
    for same in (
        toy(name="other", seeds=(4,), baselines=(toy(name="b"),)),
        toy(model_args={"embedding_dim": 4}),  # its default, said
        toy().variant({"fit.checkpoint_seconds": 1.0, "evaluate.block_size": 7}),
        toy(split=lambda: random_split(world(), seed=0, name="another-name")),
    ):
        assert same.identity(0).id == plain


def test_differences_name_the_value_on_both_sides():
    one, two = toy().identity(0), toy().variant({"fit.epochs": 4}, model_args={"embedding_dim": 8}).identity(0)
    assert one.differences(two) == ["fit.epochs: there 3, here 4", "model_args.embedding_dim: there 4, here 8"]
    assert one.differences(one) == []
    assert isinstance(one, Identity)


def test_a_graph_is_known_by_every_attribute_of_its_edges():
    graph = build_graph(random_split(with_features(1.0)))
    plain, whole = hash_graph(graph), hash_graph(graph, features=True)
    assert plain == hash_graph(build_graph(random_split(with_features(2.0))))
    assert whole != hash_graph(build_graph(random_split(with_features(2.0))), features=True)
    for attribute in ("time", "like"):
        graph["user", "interacts", "video"][attribute] = torch.arange(graph.seen.num_edges)
        assert hash_graph(graph) != plain
        plain = hash_graph(graph)


def test_the_folder_says_whose_it_is_and_other_settings_never_mix(tmp_path):
    run(toy(), 0, tmp_path)
    folder = tmp_path / "dots/0"
    assert read_identity(folder) == toy().identity(0)
    assert read_identity(tmp_path) is None
    for name, experiment in variants().items():
        if name != "plain":
            with pytest.raises(ValueError, match="another configuration or of other data"):
                run(experiment, 0, tmp_path, resume=True)
    (folder / "result.json").unlink()  # and neither does an unfinished one go on
    with pytest.raises(ValueError, match=r"model_args.scale: there 0.1, here 0.2"):
        run(toy(model_args={"scale": 0.2}), 0, tmp_path, resume=True)
    write_identity(tmp_path, toy().identity(1))
    assert read_identity(tmp_path) == toy().identity(1)
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(DamagedFile, match="identity"):
        read_identity(tmp_path)
