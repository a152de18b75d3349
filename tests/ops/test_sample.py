from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import (
    CSR,
    Block,
    Negatives,
    in_batch_logits,
    k_hop,
    log_q,
    negatives,
    random_walk_neighbours,
    sample_neighbours,
    spmm,
    walk,
)
from mmgraph.ops.sample.reference import probabilities, visits
from tests.ops.op_graphs import graphs, hub_graph


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_negatives_follow_the_probabilities_and_never_are_positives(alpha):
    seen = CSR.from_edges(
        torch.randint(0, 6, (60,), generator=rng(1)), torch.randint(0, 15, (60,), generator=rng(2)), (7, 17)
    )
    popularity = torch.bincount(seen.indices, minlength=17).double()
    weights = torch.ones(17) if alpha == 0 else popularity**alpha * (popularity > 0)
    drawn = negatives(seen, torch.arange(7), 20_000, alpha=alpha, generator=rng(3))
    share = torch.stack([torch.bincount(row, minlength=17) for row in drawn]) / 20_000
    truth = probabilities(seen.dense() > 0, weights)
    assert float(share[seen.dense() > 0].sum()) == 0
    assert float((share - truth).abs().max()) < 5 * math.sqrt(0.25 / 20_000)


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(0, 2**31))
def test_negatives_are_never_positives_on_any_graph(seen, seed):
    free = (seen.dense() != 0).logical_not() & (seen.with_values(None).dense() == 0)
    users = free.any(1).nonzero().flatten()
    if not users.numel():
        return
    drawn = negatives(seen, users, 30, generator=rng(seed))
    assert bool(free[users].gather(1, drawn).all())
    assert torch.equal(drawn, negatives(seen, users, 30, generator=rng(seed)))


def test_negatives_refuses_a_user_who_saw_everything_and_bad_weights():
    seen = CSR.from_edges(torch.tensor([1, 1]), torch.tensor([0, 1]), (2, 2))
    with pytest.raises(ValueError, match="user row 1 has no negative left"):
        negatives(seen, torch.tensor([0, 1]), 1, generator=rng())
    with pytest.raises(ValueError, match="not negative"):
        Negatives(seen, torch.tensor([-1.0, 1.0]))


def test_a_video_of_weight_zero_is_never_drawn():
    seen = CSR.from_edges(torch.tensor([0]), torch.tensor([1]), (1, 4))
    drawn = Negatives(seen, torch.tensor([0.0, 5.0, 1.0, 0.0])).sample(torch.zeros(1, dtype=torch.long), 500, rng())
    assert drawn.unique().tolist() == [2]


def test_log_q_and_in_batch_logits_by_hand():
    counts = torch.tensor([1, 3, 0])
    torch.testing.assert_close(log_q(counts, torch.tensor([1, 2])), torch.tensor([0.75, 0.25]).log())
    logits = in_batch_logits(torch.zeros(3, 3), torch.tensor([0, 1, 0]), counts)
    quarter, most = -math.log(0.25), -math.log(0.75)
    truth = torch.tensor([[quarter, most, -torch.inf], [quarter, most, quarter], [-torch.inf, most, quarter]])
    torch.testing.assert_close(logits, truth)
    assert in_batch_logits(torch.zeros(2, 2), torch.tensor([0, 1])).tolist() == [[0, 0], [0, 0]]


@settings(max_examples=30, deadline=None)
@given(graphs(), st.integers(0, 4), st.integers(0, 2**31))
def test_sampled_neighbours_are_edges_without_replacement(a, fanout, seed):
    rows = torch.tensor([a.shape[0] - 1, 0, 0])
    part, edges = sample_neighbours(a, rows, fanout, rng(seed))
    assert torch.equal(part.degree(), a.degree()[rows].clamp(max=fanout))
    assert torch.equal(a.indices[edges], part.indices)
    assert torch.equal(a.row_indices()[edges].long(), rows[part.row_indices().long()])
    key = part.row_indices().long() * (a.num_edges + 1) + edges
    assert key.unique().numel() == key.numel()
    assert torch.equal(sample_neighbours(a, rows, -1, rng())[0].dense(), a.select(rows)[0].dense())


def test_sampled_neighbours_are_uniform():
    a = CSR.from_edges(torch.zeros(5, dtype=torch.long), torch.arange(5), (1, 5))
    part, _ = sample_neighbours(a, torch.zeros(4000, dtype=torch.long), 2, rng())
    share = torch.bincount(part.indices, minlength=5) / 8000
    assert float((share - 0.2).abs().max()) < 0.03


def test_k_hop_with_all_neighbours_is_the_exact_receptive_field():
    a = CSR.bipartite(
        torch.randint(0, 9, (40,), generator=rng(1)), torch.randint(0, 8, (40,), generator=rng(2)), (10, 9)
    )
    a = a.normalized("sym")
    seeds, x = torch.tensor([12, 3, 18]), torch.randn(19, 4, generator=rng())
    for fanouts in ([-1], [-1, -1]):
        blocks = k_hop(a, seeds, fanouts, rng())
        state, full = x[blocks[0].source], x
        for block in blocks:
            state, full = spmm(block.graph, state), spmm(a, full)
        torch.testing.assert_close(state, full[seeds])
        assert torch.equal(blocks[-1].target, seeds)
        assert torch.equal(blocks[-1].graph.values, a.values[blocks[-1].edges])
    small = k_hop(a, seeds, [2, 1], rng())
    assert int(small[-1].graph.degree().max()) <= 2
    with pytest.raises(ValueError, match="distinct"):
        k_hop(a, torch.tensor([1, 1]), [2], rng())


def test_walk_follows_edges_and_stays_on_isolated_nodes():
    a = hub_graph(30, 30, 200)
    path = walk(a, torch.arange(30), 5, rng())
    connected = a.with_values(None).dense() > 0
    for step in range(5):
        here, there = path[:, step], path[:, step + 1]
        stuck = a.degree()[here] == 0
        assert bool((connected[here, there] | (stuck & (here == there))).all())


def test_random_walk_neighbours_are_the_most_visited():
    a = CSR.bipartite(
        torch.randint(0, 7, (30,), generator=rng(1)), torch.randint(0, 8, (30,), generator=rng(2)), (8, 9)
    )
    seeds = torch.tensor([3, 9, 7, 16])
    found = random_walk_neighbours(a, seeds, 3, num_walks=40, length=2, generator=rng(5))
    path = walk(a, seeds.repeat_interleave(40), 4, rng(5))[:, 2::2].reshape(4, 40, 2)
    count = visits(path, 17)
    count[torch.arange(4), seeds] = 0
    value, index = torch.sort(count, dim=1, descending=True, stable=True)
    value, index = value[:, :3], index[:, :3]
    assert torch.equal(found.index, index.masked_fill(value == 0, -1))
    share = (value / count.sum(1, keepdim=True)).float()
    torch.testing.assert_close(found.score, share.masked_fill(value == 0, -torch.inf))


def test_a_block_maps_sources_to_targets_and_a_full_fanout_is_exact():
    row, col = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([1, 2, 3, 0, 3])
    a = CSR.from_edges(row, col, (4, 4))
    x = torch.randn(4, 3)
    blocks = k_hop(a, torch.tensor([0]), [-1, -1], torch.Generator().manual_seed(0))
    assert all(isinstance(block, Block) for block in blocks)
    state = x[blocks[0].source]
    for block in blocks:
        state = spmm(block.graph, state)
    torch.testing.assert_close(state, (a.dense() @ a.dense() @ x)[[0]])
