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
    Visits,
    k_hop,
    log_q,
    negatives,
    random_walks,
    sample_neighbours,
    spmm,
)
from mmgraph.ops.sample.reference import probabilities
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


def test_log_q_by_hand():
    counts = torch.tensor([1, 3, 0])
    torch.testing.assert_close(log_q(counts, torch.tensor([1, 2])), torch.tensor([0.75, 0.25]).log())


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


@settings(max_examples=30, deadline=None)
@given(graphs(), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.5, 0.9]), st.integers(0, 2**31))
def test_random_walks_equal_one_walker_after_the_other(clicks, k, length, restart, seed):
    k = min(k, clicks.shape[1])
    seeds = torch.tensor([0, clicks.shape[1] - 1, 0])
    options = {"num_walks": 9, "length": length, "restart": restart}
    found = random_walks(clicks, seeds, k, generator=rng(seed), **options)
    truth = random_walks(clicks, seeds, k, generator=rng(seed), impl="reference", **options)
    assert isinstance(found, Visits)
    assert torch.equal(found.video, truth.video)
    assert torch.equal(found.count, truth.count)


def test_random_walks_visit_in_proportion_to_the_chain_and_restart_stays_near():
    # 0 - a - 1 - b - 2: video 2 is two steps from video 0
    clicks = CSR.from_edges(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 2]), (2, 3))
    walks = {"num_walks": 20_000, "length": 2}
    found = random_walks(clicks, torch.tensor([0]), 2, generator=rng(), **walks)
    # a step from 0 ends in 0 or 1, one from 1 in 0, 1, 1 or 2: so 1 is visited .5 + .5 · .5 + .5 · .5 times, 2 .5 · .25
    truth = torch.tensor([0.5 + 0.25 + 0.25, 0.125]) * 20_000
    assert found.video.tolist() == [[1, 2]]
    assert float((found.count[0] - truth).abs().max()) < 5 * math.sqrt(20_000)
    near = random_walks(clicks, torch.tensor([0]), 2, generator=rng(), restart=0.8, **walks)
    assert near.count[0, 1] < 0.3 * found.count[0, 1]


@pytest.mark.parametrize("restart", [-0.1, 1.0, float("nan"), True, "half"])
def test_random_walks_refuse_what_is_no_chance(restart):
    with pytest.raises(ValueError, match="restart must be a chance"):
        random_walks(hub_graph(), torch.tensor([0]), 1, restart=restart, generator=rng())


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


def test_a_generator_of_the_cpu_draws_for_any_device():
    from mmgraph.ops.sample.chance import uniform

    generator = torch.Generator().manual_seed(0)
    assert uniform((3, 2), generator, torch.device("meta")).device.type == "meta"
    again = uniform((3, 2), generator.manual_seed(0), torch.device("cpu"))
    assert torch.equal(again, torch.rand(3, 2, dtype=torch.float64, generator=generator.manual_seed(0)))
