from __future__ import annotations

import pytest
import torch

from mmgraph.ops import CSR, memory, propagate, topk
from mmgraph.ops.memory import (
    MemoryPlan,
    Need,
    NotEnoughMemory,
    available_bytes,
    dense_bytes,
    held_bytes,
    model_need,
    needs_by_size,
    peak_bytes,
    plan_memory,
    propagate_bytes,
    ranking_bytes,
    readable_size,
    training_bytes,
)
from tests.ops.op_graphs import hub_graph, normal


def world() -> CSR:
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randint(0, size, (60_000,), generator=generator) for size in (3000, 5000)]
    return CSR.bipartite(*pairs, (3000, 5000)).normalized("sym")


def test_peak_bytes_counts_what_is_alive_together():
    def step():
        first = torch.zeros(1000, 1000)
        second = first + 1
        del first
        return second.sum()

    assert peak_bytes(step) == pytest.approx(8e6, rel=0.01)


@pytest.mark.parametrize("rows", [None, 500, 4000])
@pytest.mark.parametrize("backward", [False, True])
def test_propagate_bytes_is_within_a_fifth_of_the_measured_peak(rows, backward):
    a, x = world(), normal(8000, 64)
    chosen = None if rows is None else torch.randint(0, 8000, (rows,), generator=torch.Generator().manual_seed(1))
    edges = 0 if chosen is None else int(a.degree()[chosen].sum())

    def step():
        out = propagate(a, x, 3, rows=chosen)
        if backward:
            torch.autograd.grad(out.sum(), x)

    predicted = propagate_bytes(a, 64, rows=rows, edges=edges, backward=backward)
    assert predicted == pytest.approx(peak_bytes(step), rel=0.2)


def test_plan_predicts_a_training_step_of_another_batch_size():
    a, table = world(), normal(8000, 64)

    def step(size):
        rows = torch.arange(size * 3) % 8000
        out = propagate(a, table, 3, rows=rows).view(3, size, 64)
        torch.autograd.grad((out[0] * (out[1] - out[2])).sum().sigmoid(), table)

    plan = plan_memory(step, probes=(200, 400), held=held_bytes(table, a))
    assert plan.predict(900) == pytest.approx(peak_bytes(lambda: step(900)) + held_bytes(table, a), rel=0.2)


def test_plan_finds_the_largest_block_of_a_ranking():
    generator = torch.Generator().manual_seed(0)
    user, video = torch.randn(1, 16, generator=generator), torch.randn(4000, 16, generator=generator)

    def rank(size):
        topk(user.expand(size, -1), video, 20, memory=1 << 40)

    plan = plan_memory(rank, probes=(512, 1024))
    size = plan.largest(20 << 20)
    assert 0.8 * (20 << 20) < peak_bytes(lambda: rank(size)) <= 1.01 * (20 << 20)
    assert MemoryPlan(100.0, 10.0).largest(150) == 5
    assert MemoryPlan(100.0, 10.0).largest(50) == 0
    with pytest.raises(ValueError, match="nothing to choose"):
        MemoryPlan(100.0, 0.0).largest(50)
    with pytest.raises(ValueError, match="ascending"):
        plan_memory(rank, probes=(64, 32))


def test_held_bytes_counts_each_storage_once():
    layer = torch.nn.Linear(10, 10)
    assert held_bytes(layer) == 440
    assert held_bytes(layer, layer.weight, layer.weight.T) == 440
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    assert held_bytes(optimizer) >= 880
    a = hub_graph()
    before = held_bytes(a)
    a.transpose()
    assert held_bytes(a) > before >= a.num_edges * 8
    with pytest.raises(TypeError, match="int"):
        held_bytes(3)
    assert available_bytes() > 0


@pytest.mark.parametrize("num_layers", [0, 3])
def test_training_bytes_is_within_a_fifth_of_a_measured_step(num_layers):
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randint(0, size, (60_000,), generator=generator) for size in (3000, 5000)]
    a = CSR.bipartite(*pairs, (3000, 5000)).normalized("sym")
    table = torch.nn.Parameter(normal(8000, 64).detach())
    optimizer = torch.optim.Adam([table], foreach=False)

    def step():
        rows = torch.randint(0, 8000, (3 * 512,), generator=generator)
        out = (propagate(a, table, num_layers, rows=rows) if num_layers else table[rows]).view(3, 512, 64)
        (out[0] * (out[1] - out[2])).sum().sigmoid().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    held = held_bytes(table, optimizer, *([a] if num_layers else []))
    needed = training_bytes(3000, 5000, 60_000, 64, num_layers=num_layers, batch_size=512)
    assert needed == pytest.approx(held + peak_bytes(step), rel=0.2)


def test_ranking_bytes_is_within_a_fifth_of_a_measured_ranking():
    user, video = torch.randn(900, 64), torch.randn(6000, 64)
    block = 1 << 20
    held, peak = held_bytes(user, video), peak_bytes(lambda: topk(user, video, 50, memory=block))
    assert ranking_bytes(900, 6000, 64, k=50, memory=block) == pytest.approx(held + peak, rel=0.2)


def test_what_does_not_fit_is_refused_with_what_it_needs(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device="cpu": 3 << 30)
    need = Need("EASE", dense_bytes(60_000), "take fewer videos")
    assert not need.fits()
    assert str(need) == "EASE: 13.4 GiB"
    with pytest.raises(
        NotEnoughMemory, match=r"EASE needs at least 13\.4 GiB, and this machine has 3 GiB free: take fewer"
    ):
        need.check()
    Need("EASE", dense_bytes(20_000), "").check()
    assert dense_bytes(10, copies=2) == 800


def test_needs_by_size_say_that_itemknn_stays_sparse_and_ease_does_not():
    small, large = (
        {need.name.split(",")[0]: need.bytes for need in needs_by_size(10**5, videos, 10**6)}
        for videos in (10**4, 10**5)
    )
    assert large["EASE"] > 80 * small["EASE"]
    assert large["ItemKNN"] < 2 * small["ItemKNN"]
    assert large["training BPR"] < large["training LightGCN"]
    assert readable_size(1536) == "1.5 KiB"
    assert readable_size(5 * 2**40) == "5,120 GiB"


def test_a_trained_model_needs_its_gradients_and_moments_too():
    layer = torch.nn.Linear(100, 100)
    once, trained = model_need(layer, 10, trained=False), model_need(layer, 10)
    assert once.bytes == 160  # on CPU its weights are there already
    assert trained.bytes - once.bytes == 3 * held_bytes(layer)
