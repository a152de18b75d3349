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
