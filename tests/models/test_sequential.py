"""Sequential models and graph + temporal: what they learn, what they may read."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

from mmgraph.graph import HistorySampler
from mmgraph.models import MMGCN, GRU4Rec, LightGCN, People, Popularity, SASRec, TemporalGraph, TiSASRec
from mmgraph.models.sequential.base import Sequential, in_blocks
from mmgraph.nn import (
    CausalTransformer,
    GRUEncoder,
    LSTMEncoder,
    RelativeTransformer,
    SearchInterest,
    TimeAttention,
    TimeDecayProfile,
)
from mmgraph.objectives import BPR, SampledSoftmax
from mmgraph.train import FitConfig, fit
from tests.worlds import make_graph, twelve_nodes

SEQUENTIAL = [GRU4Rec, SASRec, TiSASRec]
TEMPORAL = {
    "lstm": LSTMEncoder,
    "gru": GRUEncoder,
    "causal": partial(CausalTransformer, dropout=0.0),
    "relative": partial(RelativeTransformer, dropout=0.0),
    "attention": partial(TimeAttention, unit=1.0, query=True),
    "search": partial(SearchInterest, k=2),
}


def decay(dim: int, **more) -> TimeDecayProfile:
    """``temporal`` is called with the width, which a decay profile has no use for."""
    return TimeDecayProfile(2.0, unit=1.0, **more)


TEMPORAL["decay"] = decay


def ring(users: int = 60, videos: int = 20, steps: int = 7):
    """Users walk round a ring of videos, i -> i + 1, from anywhere: the next video is certain, and none is popular."""
    start = torch.arange(users) % videos
    video = (start.unsqueeze(1) + torch.arange(steps + 1)) % videos
    user = torch.arange(users).unsqueeze(1).expand(-1, steps)
    return make_graph(user.flatten(), video[:, :-1].flatten(), users, videos, {}), video[:, -1]


def hits(model, graph, target) -> float:
    with torch.no_grad():
        emb = model.encode(graph)
        scores = model.score(emb, torch.arange(graph.num_users)).clone()
    scores[graph.interactions()] = -torch.inf
    return (scores.argmax(1) == target).float().mean().item()


OBJECTIVES = {"full": None, "sampled": SampledSoftmax(8, shared=True, log_q=True), "bpr": BPR(negatives=4)}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
@pytest.mark.parametrize("cls", [*SEQUENTIAL, TemporalGraph])
def test_the_ring(cls, objective):
    """Every user's held-out next video comes first."""
    graph, target = ring()
    torch.manual_seed(0)
    little = {"temporal": partial(CausalTransformer, dropout=0.1)} if cls is TemporalGraph else {"dropout": 0.1}
    model = cls(graph, embedding_dim=16, objective=objective, **little)
    fit(model, graph, config=FitConfig(epochs=40, batch_size=64, learning_rate=0.01), seed=0)
    assert hits(model, graph, target) >= 0.95


def test_popularity_cannot_know_the_ring():
    graph, target = ring()
    model = Popularity(graph)
    model.solve(graph)
    assert hits(model, graph, target) < 0.5


@pytest.mark.parametrize("cls", [*SEQUENTIAL, TemporalGraph])
def test_the_user_is_the_state_after_the_events_in_the_graph_given(cls):
    """One more edge, as when valid joins train, moves that user (and in a graph model its neighbours)."""
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = cls(graph, embedding_dim=8)
    before = model.encode(graph).user
    after = model.encode(graph.with_interactions(torch.tensor([1]), torch.tensor([5]))).user
    assert not torch.allclose(before[1], after[1])
    if cls is not TemporalGraph:
        others = torch.tensor([0, 2, 3, 4])
        torch.testing.assert_close(before[others], after[others])


@pytest.mark.parametrize("cls", SEQUENTIAL)
def test_order_matters_to_the_models_that_say_so(cls):
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = cls(graph, embedding_dim=8)
    turned = copy.copy(graph)
    turned["user", "interacts", "video"].edge_index = graph["user", "interacts", "video"].edge_index.flip(1)
    assert not torch.allclose(model.encode(graph).user[0], model.encode(turned).user[0], atol=1e-5)


@pytest.mark.parametrize("cls", SEQUENTIAL)
def test_a_user_without_events_gets_zero_and_encode_never_drops_out(cls):
    graph = twelve_nodes()
    model = cls(graph, embedding_dim=8, dropout=0.9).train()
    assert torch.equal(model.encode(graph).user, model.encode(graph).user)
    assert model.encode(graph).user[4].abs().sum() == 0
    assert all(m.training for m in model.modules())
    batch = next(model.sampler(graph, 100).epoch(0, 0))
    assert model.loss(graph, batch)["softmax"] != model.loss(graph, batch)["softmax"]


def test_only_the_most_recent_events_are_read():
    user = torch.zeros(9, dtype=torch.int64)
    video = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8])
    long = make_graph(user, video, 1, 9, {})
    short = make_graph(user[:4], video[5:], 1, 9, {})
    torch.manual_seed(0)
    model = SASRec(long, embedding_dim=8, max_len=4)
    torch.testing.assert_close(model.encode(long).user, model.encode(short).user)


def test_sequential_equals_its_definition():
    """ŷ = sᵀE, s the layer's output on √D E of the events."""
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = Sequential(graph, LSTMEncoder(8), embedding_dim=8).eval()
    state = model.layer(model.video[torch.tensor([[0, 4, 5]])] * 8**0.5, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(model.encode(graph).user[3:4], state)
    torch.testing.assert_close(model.score(model.encode(graph), torch.tensor([3])), state @ model.video.T)


def test_blocks_give_rows_back_in_their_order(monkeypatch):
    monkeypatch.setattr("mmgraph.models.sequential.base.STEPS", 4)
    past = twelve_nodes().histories()
    sizes = []

    def encode(p, rows):
        sizes.append(p.video.shape)
        return torch.stack([p.video.clamp_min(0).sum(1), rows], 1)

    out = in_blocks(past, encode)
    assert out[:, 0].tolist() == [3, 4, 6, 9, 0]
    assert out[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert len(sizes) > 2


@pytest.mark.parametrize("cls", SEQUENTIAL)
def test_a_session_that_began_after_training_is_ranked_as_a_known_person_of_the_same_history(cls):
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = cls(graph, embedding_dim=8)
    people = People(histories=graph.histories(users=torch.tensor([3, 0])))
    emb = model.fold_in(graph, people)
    known = model.encode(graph)
    torch.testing.assert_close(model.score(emb, torch.arange(2)), model.score(known, torch.tensor([3, 0])))
    with pytest.raises(ValueError, match="reads clicks in order"):
        model.fold_in(graph, People(clicks=graph.seen))


# -- graph + temporal ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPORAL)
def test_any_layer_plugs_into_any_graph_model(name):
    """It trains, every parameter gets a gradient, and an isolated user and an unseen video have finite scores."""
    graph = twelve_nodes()
    for propagation in (partial(LightGCN, embedding_dim=8), partial(MMGCN, embedding_dim=8)):
        torch.manual_seed(0)
        model = TemporalGraph(graph, propagation=propagation, temporal=TEMPORAL[name])
        for batch in model.sampler(graph, 8).epoch(0, 0):
            sum(model.loss(graph, batch).values()).backward()
        assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        emb = model.encode(graph)
        assert model.score(emb, torch.arange(5)).isfinite().all()


def test_the_gate_joins_long_term_and_recent():
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = TemporalGraph(graph, embedding_dim=8, temporal=partial(GRUEncoder, hidden_dim=5))
    long = model.propagation.encode(graph)
    past = graph.histories()
    short = model.temporal(long.video[past.video.clamp_min(0)] * 8**0.5, past.mask)
    gate = (torch.cat([long.user, short], 1) @ model.gate.weight.T + model.gate.bias).sigmoid()
    emb = model.encode(graph)
    torch.testing.assert_close(emb.user, gate * long.user + (1 - gate) * short)
    torch.testing.assert_close(emb.video, long.video)
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.bias.fill_(50.0)
    torch.testing.assert_close(model.encode(graph).user, long.user)  # wide open: the graph model itself


def test_a_closed_gate_hides_the_long_term_vector():
    graph = twelve_nodes()
    model = TemporalGraph(graph, embedding_dim=8, long_dropout=1.0)
    long, short = torch.randn(3, 8), torch.randn(3, 8)
    closed = torch.tensor([[True], [False], [True]])
    joined = model.join(long, short, closed)
    torch.testing.assert_close(joined[[0, 2]], short[[0, 2]])
    assert not torch.allclose(joined[1], short[1])
    model.train()
    for batch in model.sampler(graph, 8).epoch(0, 0):
        sum(model.loss(graph, batch).values()).backward()
    assert model.gate.weight.grad.abs().sum() == 0  # every example's gate was closed


def test_the_gate_can_begin_on_the_side_of_recent_interest():
    torch.manual_seed(0)
    plain = TemporalGraph(twelve_nodes(), embedding_dim=8)
    torch.manual_seed(0)
    leaning = TemporalGraph(twelve_nodes(), embedding_dim=8, gate_bias=-20.0)
    torch.testing.assert_close(leaning.gate.bias, plain.gate.bias - 20)
    assert torch.equal(leaning.gate.weight, plain.gate.weight)
    long, short = torch.randn(3, 8), torch.randn(3, 8)
    torch.testing.assert_close(leaning.join(long, short), short)
    assert not torch.allclose(plain.join(long, short), short)


@pytest.mark.parametrize("name", ["causal", "attention"])
def test_the_sampler_gives_what_the_layer_can_learn_from(name):
    graph = twelve_nodes()
    sampler = TemporalGraph(graph, temporal=TEMPORAL[name]).sampler(graph, 4)
    assert isinstance(sampler, HistorySampler)
    assert sampler.prefixes == (name == "attention")


def test_prefixes_and_states_cost_the_same():
    """A causal layer trained at every step has the loss that it has trained prefix by prefix."""
    graph = twelve_nodes()
    torch.manual_seed(0)
    temporal = partial(CausalTransformer, dropout=0.0, positions="start")
    model = TemporalGraph(graph, embedding_dim=8, temporal=temporal)
    whole = next(HistorySampler(graph, 100).epoch(0, 0))
    pieces = next(HistorySampler(graph, 100, prefixes=True).epoch(0, 0))
    torch.testing.assert_close(model.loss(graph, whole)["softmax"], model.loss(graph, pieces)["softmax"])
