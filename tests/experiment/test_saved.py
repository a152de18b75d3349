"""A model saved and loaded again scores the same; what a file says is never run; every byte is checked."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
import polars as pl
import pytest
import torch

import mmgraph
from mmgraph import models
from mmgraph.data import Dataset, Features, random_split
from mmgraph.data.files import DamagedFile, read_json, write_json
from mmgraph.evaluate import evaluate
from mmgraph.experiment import CodeNeeded, Result, Saved, load, prepare, restore, run, save
from mmgraph.experiment.saved import FILES, MODEL, WEIGHTS, fill, read_weights
from mmgraph.graph import EdgeDrop, ModalityKNN, build_graph
from mmgraph.models import BPRMF, EASE, FREEDOM, Embeddings, LightGCN, Recommender
from mmgraph.nn import CausalTransformer
from mmgraph.ops import CSR
from mmgraph.recommend import Blocked, Constraint, Prerequisites, Quota, Released, recommend_ids
from mmgraph.testing import alike
from tests.experiment.toys import Dots, toy, toy_split, world
from tests.worlds import twelve_nodes


def same_tensors(one: Embeddings, other: Embeddings) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def with_sound():
    features = torch.randn(world().num_videos, 4, generator=torch.Generator().manual_seed(0))
    present = torch.arange(world().num_videos) % 5 > 0
    return random_split(world().with_features(audio=Features(features, present)))


def test_a_finished_run_loads_and_recommends_without_the_code_that_made_it(tmp_path):
    experiment = toy(model=LightGCN, model_args={"num_layers": 2, "embedding_dim": 8}, transforms=(EdgeDrop(0.5),))
    result = run(experiment, 0, tmp_path)
    folder = tmp_path / "dots/0"
    told = json.loads((folder / "result.json").read_text())
    assert set(FILES) <= set(told["files"])
    assert not (folder / "checkpoint.pt").exists()

    saved = mmgraph.load(folder)
    assert isinstance(saved, Saved)
    assert isinstance(saved.model, LightGCN)
    assert saved.model.num_layers == 2
    assert not saved.model.training
    assert saved.protocol["method"] == "random_split"
    ready = restore(result, experiment)
    assert same_tensors(saved.model.encode(saved.graph), ready.model.eval().encode(ready.graph))
    test = evaluate(saved.model, saved.graph, toy_split().open_test("again"), experiment.evaluate, seen=saved.seen)
    assert test["all"] == pytest.approx(result.test["all"], rel=0, abs=0, nan_ok=True)
    assert saved.dataset is not None
    assert saved.dataset.user_ids == toy_split().dataset.user_ids
    assert recommend_ids(saved.model, saved.graph, saved.dataset, [3], 4).to_frame()["video"].dtype.is_integer()


def test_columns_and_tags_of_videos_are_kept(tmp_path):
    data = Dataset.from_frames(
        {"user": [u for u in range(9) for _ in "abc"], "video": list("abc") * 9},
        videos={"video_id": ["c", "a", "b"], "title": ["C", "A", "B"], "year": [3, 1, 2], "score": [0.5, 0.1, 0.2]},
        entities={"tag": pl.DataFrame({"video": ["a", "a", "b"], "tag": ["x", "y", "x"]})},
    )
    graph = build_graph(random_split(data))
    save(BPRMF(graph), tmp_path / "m", graph, data)
    found = mmgraph.load(tmp_path / "m").dataset
    assert found is not None
    assert found.videos.sort("video_id").rows() == [("a", "A", 1), ("b", "B", 2), ("c", "C", 3)]
    tags = found.entities["tag"]
    pairs = {(found.video_ids.raw([v])[0], tags.ids.raw([t])[0]) for v, t in tags.edges.T.tolist()}
    assert pairs == {("a", "x"), ("a", "y"), ("b", "x")}


def test_the_weights_kept_are_those_of_the_reported_epoch(tmp_path):
    made = toy().variant({"fit.learning_rate": 5.0, "fit.epochs": 9})  # the last epoch is not the best
    result = run(made, 0, tmp_path)
    assert result.training["best_epoch"] < result.training["epochs"] - 1
    ready = prepare(made, 0)
    fill(ready.model, read_weights(tmp_path / "dots/0"), tmp_path / WEIGHTS)
    valid = evaluate(ready.model, ready.graph, ready.split.valid, made.evaluate)
    assert valid["all"]["recall@5"] == result.training["monitor"]


def test_equal_graphs_of_one_place_lie_on_disk_once(tmp_path):
    for seed in (0, 1):
        run(toy(), seed, tmp_path)
    run(toy(name="thinned", transforms=(EdgeDrop(0.5),)), 0, tmp_path)
    files = [tmp_path / name / "graph.safetensors" for name in ("dots/0", "dots/1", "thinned/0")]
    one, two, other = (os.stat(file).st_ino for file in files)
    assert one == two != other
    assert len(list((tmp_path / "graphs").iterdir())) == 2


def own_models() -> list[type[Recommender]]:
    found = [getattr(models, name) for name in models.__all__]
    return [m for m in found if isinstance(m, type) and issubclass(m, Recommender) and m is not Recommender]


@pytest.mark.parametrize("kind", own_models(), ids=lambda kind: kind.__name__)
def test_every_model_that_a_graph_makes_comes_back_the_same(kind, tmp_path):
    graph = alike(twelve_nodes())
    graph["user", "interacts", "video"].time = torch.arange(10.0, dtype=torch.float64)
    torch.manual_seed(0)
    model = kind(graph)
    if kind.closed_form:
        model.solve(graph)
    for parameter in model.parameters():
        parameter.data += 0.1
    saved = load(save(model, tmp_path / "m", graph))
    assert type(saved.model) is kind
    assert saved.dataset is None
    want, found = model.eval().encode(graph), saved.model.encode(saved.graph)
    users = torch.arange(graph.num_users)
    assert torch.equal(saved.model.score(found, users), model.score(want, users))


def test_a_model_remembers_what_it_was_made_with():
    graph = twelve_nodes()
    assert LightGCN(graph, num_layers=1).made_with == {"num_layers": 1}
    assert Dots(graph, embedding_dim=2).made_with == {"embedding_dim": 2}
    assert BPRMF(graph=graph).made_with == {}
    copied = copy.deepcopy(LightGCN(graph, num_layers=1))
    assert copied.made_with == {"num_layers": 1}


def test_a_graph_comes_back_whole(tmp_path):
    graph = build_graph(with_sound())
    graph["user", "interacts", "video"].weight = torch.rand(graph.seen.num_edges)
    loaded = load(save(BPRMF(graph), tmp_path, graph)).graph
    assert loaded.node_types == graph.node_types
    assert loaded.edge_types == graph.edge_types
    for kind in (*graph.node_types, *graph.edge_types):
        assert list(loaded[kind].keys()) == list(graph[kind].keys())
        for key, value in graph[kind].items():
            assert torch.equal(torch.as_tensor(loaded[kind][key]), torch.as_tensor(value))
    assert loaded.modalities == ["audio"]
    assert (loaded.num_users, loaded.num_videos) == (graph.num_users, graph.num_videos)


def test_a_model_of_ones_own_is_loaded_by_the_class_that_the_person_names(tmp_path, monkeypatch):
    run(toy(), 0, tmp_path)
    folder = tmp_path / "dots/0"
    with pytest.raises(CodeNeeded, match=r"toys:Dots, which is no model of mmgraph's own, and no code is run"):
        load(folder)
    assert isinstance(load(folder, model=Dots).model, Dots)
    told = read_json(folder / MODEL)
    write_json(folder / MODEL, told | {"model": "os:system", "args": {"command": "touch /tmp/never"}})
    with pytest.raises(ValueError, match="no model of mmgraph's own"):
        load(folder)
    write_json(folder / MODEL, told | {"model": "mmgraph.models:fold_in"})
    with pytest.raises(ValueError, match="no model of mmgraph's own"):
        load(folder)
    layer = models.SASRec(twelve_nodes(), max_len=3)
    graph = twelve_nodes()
    made = models.TemporalGraph(graph, embedding_dim=4, temporal=CausalTransformer(4, max_len=3))
    save(made, tmp_path / "t", graph)
    with pytest.raises(ValueError, match=r"a mmgraph\S*CausalTransformer, which a file cannot hold"):
        load(tmp_path / "t")
    again = load(
        tmp_path / "t",
        model=lambda g: models.TemporalGraph(g, embedding_dim=4, temporal=CausalTransformer(4, max_len=3)),
    )
    assert same_tensors(again.model.encode(graph), made.eval().encode(graph))
    with pytest.raises(ValueError, match=r"weights.safetensors does not fit SASRec"):
        load(tmp_path / "t", model=layer)


def test_every_flipped_byte_of_a_saved_model_is_noticed(tmp_path):
    run(toy(model=FREEDOM, split=with_sound, transforms=(ModalityKNN("audio", 2),)), 0, tmp_path)
    folder = tmp_path / "dots/0"
    for name in FILES:
        path = folder / name
        whole = path.read_bytes()
        for place in np.linspace(0, len(whole) - 1, 12).astype(int):
            changed = bytearray(whole)
            changed[place] ^= 1
            path.unlink()  # a hard link: the graph of the other runs stays as it is
            path.write_bytes(changed)
            with pytest.raises(DamagedFile, match=name):
                load(folder)
        path.unlink()
        with pytest.raises((DamagedFile, FileNotFoundError), match=name):
            load(folder)
        path.write_bytes(whole)
    assert isinstance(load(folder).model, FREEDOM)
    write_json(folder / MODEL, read_json(folder / MODEL) | {"format": 7})
    with pytest.raises(DamagedFile, match="format 7"):
        load(folder)


def test_saving_is_asked_before_it_replaces_and_needs_what_fits(tmp_path):
    graph = build_graph(toy_split())
    model = BPRMF(graph, embedding_dim=2)
    save(model, tmp_path / "a")
    with pytest.raises(ValueError, match="holds a model"):
        save(model, tmp_path / "a")
    save(model, tmp_path / "a", overwrite=True)
    with pytest.raises(ValueError, match="saved without a graph"):
        load(tmp_path / "a")
    assert torch.equal(load(tmp_path / "a", graph=graph).model.embedding, model.embedding)
    with pytest.raises(ValueError, match="the graph has"):
        save(model, tmp_path / "b", twelve_nodes(), world())
    with pytest.raises(FileNotFoundError, match=r"no model\.json"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        mmgraph.load(tmp_path / "none")
    ease = EASE(graph)
    ease.solve(graph)
    assert mmgraph.save(ease, tmp_path / "c", graph) == tmp_path / "c"
    loaded = load(tmp_path / "c").model
    users = torch.arange(3)
    assert torch.equal(loaded.score(loaded.encode(graph), users), ease.score(ease.encode(graph), users))


def test_a_damaged_run_cannot_be_restored(tmp_path):
    run(toy(), 0, tmp_path)
    path = tmp_path / "dots/0" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFile, match=WEIGHTS):
        restore(Result.load(tmp_path / "dots/0"), toy())


class Odd:
    """A rule of one's own."""

    def permits(self, users, num_videos):
        return (torch.arange(num_videos) % 2 == 1).expand(len(users), -1)

    def digest(self):
        return "odd"


def limits(num_videos: int, num_users: int) -> Constraint:
    needs = CSR.from_edges(torch.tensor([2, 5, 5]), torch.tensor([0, 0, 1]), (num_videos, 2))
    mastered = CSR.from_edges(torch.tensor([3, 3, 4]), torch.tensor([0, 1, 0]), (num_users, 2))
    time = torch.arange(num_videos, dtype=torch.float64)
    groups = torch.arange(num_videos) % 3
    return Constraint(
        num_videos,
        allowed=torch.arange(num_videos) != 7,
        blocked=Blocked(frozenset({1, 8}), 5),
        rules=(Prerequisites(needs, mastered), Released(time, 19.5), Released(time, time[:num_users])),
        quotas=(Quota(groups == 0, at_least=1, name="thirds"), Quota(groups == 1, at_most=2)),
    )


def test_a_constraint_comes_back_the_same(tmp_path):
    experiment = toy(model=BPRMF)
    ready = prepare(experiment, 0)
    sizes = ready.graph.num_videos, ready.graph.num_users
    told = {"graph": ready.graph, "dataset": ready.split.dataset}
    for name, wanted in {
        "all": limits(*sizes),
        "unreadable": Constraint(sizes[0], blocked=Blocked(None, 2)),
        "none": Constraint(sizes[0]),
    }.items():
        save(ready.model, tmp_path / name, **told, constraint=wanted)
        found = load(tmp_path / name).constraint
        assert found.with_seen(None).digest() == wanted.digest()
        assert found.seen.num_edges == ready.seen.num_edges
        users = torch.arange(sizes[1])
        assert torch.equal(found.mask(users), wanted.with_seen(found.seen).mask(users))
    assert found.blocked == Blocked()
    told = json.loads((tmp_path / "all" / MODEL).read_text())["constraint"]
    assert told["blocked"] == {"rows": [1, 8], "version": 5}


def test_a_rule_of_ones_own_is_missed_when_a_folder_is_asked(tmp_path):
    ready = prepare(toy(model=BPRMF), 0)
    save(ready.model, tmp_path / "odd", ready.graph, constraint=Constraint(ready.graph.num_videos, rules=(Odd(),)))
    saved = load(tmp_path / "odd")
    with pytest.raises(CodeNeeded, match=r"test_saved:Odd, that a file cannot hold"):
        assert saved.constraint


def test_what_a_run_may_show_is_saved_with_it(tmp_path):
    def newer(split):
        return limits(split.dataset.num_videos, split.dataset.num_users)

    evaluation = toy().evaluate.model_copy(update={"k": (10,), "constraint": newer})
    run(toy(model=BPRMF, evaluate=evaluation, fit=toy().fit.model_copy(update={"monitor": "recall@10"})), 0, tmp_path)
    folder = tmp_path / "dots/0"
    assert "constraint.safetensors" in Result.load(folder).files
    saved = load(folder)
    assert saved.constraint.with_seen(None).digest() == newer(toy_split()).digest()
    run(toy(model=BPRMF), 0, tmp_path, overwrite=True)
    assert not (folder / "constraint.safetensors").exists()
    assert bool(load(folder).constraint.columns.all())
