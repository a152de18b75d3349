"""No senseless setting makes a model; each is refused by the names of the class and the argument."""

from __future__ import annotations

import math

import pytest

import mmgraph.models as zoo
from mmgraph.config import SettingError
from mmgraph.testing import alike, twelve_nodes

WRONG = [
    ("LightGCN", {"embedding_dim": 0}),
    ("LightGCN", {"embedding_dim": 2.5}),
    ("LightGCN", {"num_layers": -1}),
    ("LightGCN", {"num_layers": True}),
    ("LightGCN", {"l2": -1.0}),
    ("LightGCN", {"l2": math.nan}),
    ("BPRMF", {"l2": math.inf}),
    ("EASE", {"reg": 0.0}),
    ("EASE", {"reg": -3}),
    ("ItemKNN", {"k": 0}),
    ("ItemKNN", {"shrink": -1.0}),
    ("ItemKNN", {"alpha": math.nan}),
    ("SASRec", {"dropout": 2.0}),
    ("SASRec", {"dropout": math.nan}),
    ("SASRec", {"max_len": 0}),
    ("GRU4Rec", {"embedding_dim": -4}),
    ("MultVAE", {"dropout": 1.0}),
    ("DSSM", {"temperature": -1.0}),
    ("CLCRec", {"temperature": 0.0}),
    ("ContentVAE", {"modality_dropout": -0.1}),
    ("SimGCL", {"noise": -0.1}),
    ("IALS", {"sweeps": 0}),
    ("LATTICE", {"raw": 1.5}),
    ("Hybrid", {"known": 0.0}),
]


@pytest.mark.parametrize(("name", "settings"), WRONG, ids=[f"{n}-{k}" for n, s in WRONG for k in s])
def test_senseless_settings_are_refused(name, settings):
    (key,) = settings
    with pytest.raises(SettingError, match=rf"{name}: {key} must be"):
        getattr(zoo, name)(alike(twelve_nodes()), **settings)


def test_a_name_that_means_another_thing_in_one_class_is_left_to_it():
    assert zoo.LightGCNPP(twelve_nodes(), beta=-0.1).beta == -0.1


def test_what_is_handed_on_to_a_base_is_among_the_arguments():
    taken = zoo.XSimGCL.arguments()
    assert taken.keys() >= {"layer", "noise", "temperature", "l2", "edge_types", "objective"}
    assert "graph" not in taken
    assert taken["noise"].default == 0.2  # its own, not SimGCL's
    with pytest.raises(TypeError, match="XSimGCL has no argument 'edge_type'; did you mean 'edge_types'"):
        zoo.XSimGCL(twelve_nodes(), edge_type=("interacts",))
    assert "layer" not in zoo.SASRec.arguments()  # which it makes itself


def test_a_class_that_takes_anything_is_left_alone():
    class Anything(zoo.Recommender):
        def __init__(self, graph, **settings):
            super().__init__()
            self.settings = settings

    assert Anything(twelve_nodes(), colour="red").settings == {"colour": "red"}
    assert [p.kind.name for p in Anything.arguments().values()] == ["VAR_KEYWORD"]


def test_an_experiment_is_told_by_the_defaults_of_the_bases_too():
    from mmgraph.recipes.tiktok import sgl, smore

    assert sgl().arguments()["temperature"] == 0.2
    assert smore().arguments().keys() >= {"embedding_dim", "num_layers", "dropout", "l2"}
