"""What graphs, transforms and samplers refuse at their doors, in the words of the argument."""

from __future__ import annotations

import math
import re

import pytest
import torch

from mmgraph.data import DataError, Features
from mmgraph.evaluate import SampledCandidates
from mmgraph.features import Standardiser
from mmgraph.graph import CoExposure, ModalityKNN, PairSampler, RandomWalkNeighbours
from mmgraph.models import DSSM, SASRec
from mmgraph.nn import TemporalConv
from mmgraph.ops import sample_neighbours
from mmgraph.recommend import Blocked, Constraint, explain
from tests.worlds import checkerboard, twelve_nodes

ROWS, TIMES = torch.tensor([0, 1, 2]), torch.tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: ModalityKNN("visual", weight="cosinex"),
            "weight must be one of 'cosine', 'binary', got str 'cosinex'",
        ),
        (lambda: ModalityKNN("visual", weight=["binary"]), "weight must be one of"),
        (lambda: ModalityKNN("visual", k=2.5), "k must be a whole number"),
        (lambda: CoExposure(window=math.nan), "window must be a finite number above 0"),
        (lambda: CoExposure(window="1"), "window must be a number"),
        (lambda: CoExposure(steps=True), "steps must be a whole number"),
        (lambda: RandomWalkNeighbours(walks=None), "walks must be a whole number"),
        (lambda: RandomWalkNeighbours(restart=1.0), "restart must be a finite number"),
        (lambda: PairSampler(twelve_nodes(), 4, draws=2.5), "draws must be a whole number"),
        (lambda: checkerboard(8).histories(users=torch.tensor([0.5])), "users must be whole numbers"),
        (lambda: checkerboard(8).histories(users=torch.tensor([8])), "users holds 8"),
        (lambda: checkerboard(8).histories(before=math.nan), "before must be seconds, got NaN"),
        (lambda: checkerboard(8).histories(before="now"), "before must be seconds"),
        (lambda: checkerboard(8).relation("interacts", norm=""), "norm must be one of 'sym', 'row', None"),
        (lambda: checkerboard(8).relation(None), "None names 0 edge types of this graph"),
        (lambda: checkerboard(8).relation(("a", "b")), "names 0 edge types of this graph"),
        (lambda: checkerboard(8).adjacency(None), "edge_types must be a name or a list of names"),
        (lambda: checkerboard(8).with_interactions(ROWS, ROWS.float(), TIMES), "video must be whole numbers"),
        (lambda: checkerboard(8).with_interactions(None, ROWS, TIMES), "user must be a tensor"),
        (lambda: checkerboard(8).with_interactions(ROWS, ROWS, "now"), "time must be a tensor of numbers"),
        (lambda: checkerboard(8).with_interactions(ROWS, ROWS, TIMES[:2]), "time must be [3], one for each of user"),
        (lambda: Features(torch.ones(3, 2), torch.ones(3)), "present is torch.float32"),
        (lambda: Features(torch.ones(3, 2), torch.ones(4).bool()), "present is [4] beside values [3, 2]"),
        (lambda: DSSM(checkerboard(8), modalities=["smell"]), "modalities ['smell'] asked for"),
        (lambda: SASRec(checkerboard(8), hidden_dim="4"), "SASRec: hidden_dim must be a number, got '4'"),
    ],
)
def test_it_is_refused_in_the_words_of_the_argument(call, said) -> None:
    with pytest.raises((TypeError, ValueError, KeyError, DataError), match=re.escape(said)):
        call()


def test_what_makes_sense_passes() -> None:
    graph = checkerboard(8)
    assert CoExposure().window == math.inf
    assert PairSampler(graph, 4, draws=0).draws.count == 0
    assert SASRec(graph, hidden_dim=None).made_with["hidden_dim"] is None
    assert len(graph.histories(before=math.inf, users=torch.tensor([3, 1])).length) == 2
    times = torch.tensor([2**40, 2**40 + 1, 5])  # whole seconds beyond what float32 can tell apart
    longer = graph.with_interactions(ROWS.int(), ROWS, times)
    assert longer["user", "interacts", "video"].time[-3:].tolist() == times.tolist()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Standardiser.fit(torch.ones(3, 2).long()), "features must be floating point"),
        (lambda: Standardiser.fit("rows"), "features must be a tensor"),
        (lambda: Constraint(3, seen="seen"), "seen must be a CSR [U, V], got str"),
        (lambda: Constraint(True), "num_videos must be a whole number"),
        (lambda: Blocked([1, 2]), "rows must be a set of video rows"),
        (lambda: Blocked(version=None), "version must be a whole number"),
        (lambda: SampledCandidates(9, seed="3"), "seed must be a whole number"),
        (lambda: explain(checkerboard(8), 0, 1, k=math.inf), "k must be a whole number"),
        (lambda: Features(torch.ones(3, 2, dtype=torch.complex64)), "features are torch.complex64"),
        (lambda: checkerboard(8).with_interactions(ROWS, ROWS, TIMES * math.nan), "time must be seconds, got NaN"),
        (lambda: sample_neighbours(checkerboard(8).seen, ROWS, -1, "seed"), "generator must be a torch.Generator"),
        (lambda: TemporalConv(2, 4, 2.5), "out_dim must be a whole number"),
    ],
)
def test_ranking_sampling_and_features_refuse_in_those_words_too(call, said) -> None:
    with pytest.raises((TypeError, ValueError, DataError), match=re.escape(said)):
        call()
