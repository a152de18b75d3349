from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import CSR, propagate, spmm
from mmgraph.ops.operand import Operand
from mmgraph.ops.propagate.op import propagate_op
from mmgraph.ops.spmm import matmul
from tests.elsewhere import Elsewhere
from tests.ops.op_graphs import TOLERANCE, graphs, normal


def dense(a, x, weights, rows=None):
    """The sum over layers by matrix powers."""
    matrix, layer = a.dense().to(x.dtype), x
    out = weights[0] * x
    for weight in weights[1:]:
        layer = matrix @ layer
        out = out + weight * layer
    return out if rows is None else out[rows]


@pytest.mark.parametrize(("impl", "examples"), [("reference", 15), ("cpu", 40), ("triton", 5)])
def test_propagate_equals_matrix_powers_and_their_gradient(impl, examples):
    @settings(max_examples=examples, deadline=None, database=None)
    @given(graphs(square=True, max_edges=12), st.integers(0, 3), st.booleans(), st.booleans())
    def check(a, num_layers, some_rows, learned):
        x = normal(a.shape[0], 5)
        rows = torch.tensor([a.shape[0] - 1, 0, 0]) if some_rows else None
        weights = normal(num_layers + 1, seed=7) if learned else torch.full((num_layers + 1,), 1 / (num_layers + 1))
        given_weights = weights if learned else None
        out = propagate(a, x, num_layers, weights=given_weights, rows=rows, impl=impl)
        truth = dense(a, x, weights, rows)
        tolerance = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(out, truth, **tolerance)
        leaves = [x, weights] if learned else [x]
        grad = torch.randn_like(truth)
        ours = torch.autograd.grad(out, leaves, grad)
        torch.testing.assert_close(ours, torch.autograd.grad(truth, leaves, grad), **tolerance)

    check()


def world(store: bool = True) -> CSR:
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randint(0, size - 1, (90,), generator=generator, device="cpu") for size in (20, 30)]
    return CSR.bipartite(*pairs, (20, 30)).normalized("sym", store=store).to(torch.get_default_device())


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("norm", ["sym", "row"])
def test_rows_equal_the_full_computation_gradients_included(store, norm):
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randint(0, size - 1, (90,), generator=generator) for size in (20, 30)]
    a = CSR.bipartite(*pairs, (20, 30)).normalized(norm, store=store)
    rows = torch.tensor([3, 49, 3, 21])
    x = normal(50, 6)
    out, truth = propagate(a, x, 3, rows=rows), propagate(a, x, 3)[rows]
    torch.testing.assert_close(out, truth, rtol=1e-6, atol=1e-6)
    grad = torch.randn_like(out)
    ours, theirs = torch.autograd.grad(out, x, grad), torch.autograd.grad(truth, x, grad)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(truth, dense(a, x, [0.25] * 4, rows))


def test_several_right_hand_sides_and_the_last_layer_alone():
    a, x = world(), normal(50, 2, 4)
    out = propagate(a, x, 2, weights=[0, 0, 1], rows=torch.tensor([4, 30]))
    assert out.shape == (2, 2, 4)
    for m in range(2):
        torch.testing.assert_close(out[:, m], dense(a, x[:, m], [0, 0, 1])[[4, 30]])


def test_mask_thins_every_layer():
    a, x = world(), normal(50, 4)
    mask = torch.arange(a.num_edges) % 3 > 0
    for rows in (None, torch.tensor([1, 40])):
        out = propagate(a, x, 2, mask=mask, rows=rows)
        truth = dense(a.with_values(a.values * mask), x, [1 / 3] * 3, rows)
        torch.testing.assert_close(out, truth)
        grad = torch.randn_like(out)
        torch.testing.assert_close(torch.autograd.grad(out, x, grad), torch.autograd.grad(truth, x, grad))


@pytest.mark.parametrize("rows", [None, torch.tensor([3, 49, 3, 21])])
def test_storage_in_bfloat16_is_close_and_autocast_asks_for_it(rows):
    a, x = world(), normal(50, 6)
    exact, low = propagate(a, x, 3, rows=rows), propagate(a, x, 3, rows=rows, storage=torch.bfloat16)
    assert low.dtype == torch.float32
    assert 0 < float((exact - low).detach().abs().max()) < 2e-2
    grad = torch.randn_like(exact)
    torch.testing.assert_close(
        torch.autograd.grad(low, x, grad), torch.autograd.grad(exact, x, grad), **TOLERANCE[torch.bfloat16]
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(propagate(a, x, 3, rows=rows), low)


def test_gradcheck_and_opcheck():
    a = world().to(dtype=torch.float64)
    x, weights = normal(50, 2, dtype=torch.float64), normal(3, seed=2, dtype=torch.float64)
    rows = torch.tensor([3, 49, 3])
    for chosen in (rows, None):
        assert torch.autograd.gradcheck(lambda x, w, r=chosen: propagate(a, x, 2, weights=w, rows=r), (x, weights))
        for learned, fixed in ((weights, []), (None, [0.5, 0.0, 1.0])):
            arguments = (Operand.of(a), x, learned, fixed, chosen, chosen is not None, "cpu", None)
            torch.library.opcheck(propagate_op.torch, propagate_op.flat(arguments))


@pytest.mark.parametrize("impl", ["reference", "cpu", "triton"])
@pytest.mark.parametrize("num_layers", [0, 1, 3])
@pytest.mark.parametrize("store", [True, False])
def test_the_input_rows_come_along_and_their_gradient_joins(impl, num_layers, store):
    a, x = world(store), normal(50, 40)
    rows = torch.tensor([4, 30, 4])
    weights = [0.0, *torch.linspace(-0.5, 1, num_layers).tolist()]
    out, own = propagate(a, x, num_layers, weights=weights, rows=rows, with_input=True, impl=impl)
    truth = dense(a, x, weights, rows)
    torch.testing.assert_close((out, own), (truth, x[rows]))
    sides = torch.randn_like(out), torch.randn_like(out)
    for kept in ((0, 1), (0,), (1,)):  # a gradient to both, to one of them
        ours = torch.autograd.grad([(out, own)[i] for i in kept], x, [sides[i] for i in kept], retain_graph=True)
        theirs = torch.autograd.grad(
            [(truth, x[rows])[i] for i in kept], x, [sides[i] for i in kept], retain_graph=True
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_kept_in_bf16_the_gradient_is_near():
    a, x = world(), normal(50, 64)
    rows = torch.tensor([4, 30, 4])
    out, own = propagate(a, x, 3, rows=rows, with_input=True, storage=torch.bfloat16)
    truth = propagate(a, x, 3, rows=rows, impl="reference"), x[rows]
    sides = torch.randn_like(out), torch.randn_like(own)
    torch.testing.assert_close((out, own), truth, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(
        torch.autograd.grad((out, own), x, sides), torch.autograd.grad(truth, x, sides), rtol=2e-2, atol=2e-2
    )


def test_propagate_keeps_no_layer_for_the_backward():
    a, x = world(), normal(50, 64)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        propagate(a, x, 3, rows=torch.tensor([3, 7]))
    assert not any(t.is_floating_point() and t.dim() == 2 for t in kept)


def test_propagate_refuses_what_has_no_meaning():
    a = world()
    with pytest.raises(ValueError, match="3 layers need 4 weights, got 2"):
        propagate(a, normal(50, 2), 3, weights=[1, 2])
    with pytest.raises(ValueError, match="square"):
        propagate(CSR.from_edges(torch.tensor([0]), torch.tensor([1]), (2, 3)), normal(3, 2), 1)
    with pytest.raises(ValueError, match="layer by layer"):
        propagate(a.with_values(normal(a.num_edges)), normal(50, 2), 1)
    with pytest.raises(ValueError, match="layer by layer"):
        propagate(replace(a, row_scale=normal(50)), normal(50, 2), 1)
    with pytest.raises(ValueError, match="needs rows"):
        propagate(a, normal(50, 2), 1, with_input=True)
    with pytest.raises(ValueError, match="num_layers"):
        propagate(a, normal(50, 2), -1)


class Watched(Elsewhere):
    """Names the operations after which the host waits for the device, as they would on a GPU."""

    WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2", "mmgraph::spmm_rows")

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in self.WAITING:
            self.waited.append(func._schema.name)
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.mark.parametrize(
    "product",
    [
        lambda a, x, rows: propagate(a, x, 2, rows=rows, impl="triton"),
        lambda a, x, rows: spmm(a, x, rows=rows, impl="triton"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton has to run on the CPU here")
def test_rows_of_a_small_graph_are_not_waited_for_on_another_device(product, monkeypatch):
    a, rows = world(), torch.tensor([3, 49, 3, 21])
    x = torch.randn(a.shape[0], 4, generator=torch.Generator().manual_seed(0))
    truth = product(a, x, rows)
    for edges, waits in ((a.num_edges, False), (a.num_edges - 1, True)):
        monkeypatch.setattr(matmul, "_SOON", edges)
        with Watched() as watched:
            there, table, at = a.to("meta"), x.to("meta").requires_grad_(), rows.to("meta")
            watched.waited.clear()
            out = product(there, table, at)
            out.sum().backward()
            assert bool(watched.waited) == waits
            torch.testing.assert_close(out.held, truth)


def test_rows_are_propagated_in_a_compiled_function():
    a, x = world(), normal(50, 6)
    rows = torch.tensor([3, 49, 3, 21])
    compiled = torch.compile(lambda x: propagate(a, x, 2, rows=rows), backend="aot_eager", fullgraph=True)
    out, truth = compiled(x), propagate(a, x, 2, rows=rows)
    torch.testing.assert_close(out, truth)
    torch.testing.assert_close(torch.autograd.grad(out.sum(), x), torch.autograd.grad(truth.sum(), x))
