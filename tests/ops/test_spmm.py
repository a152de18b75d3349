from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import CSR, edge_dot, spmm
from mmgraph.ops.compiled import library
from mmgraph.ops.operand import Operand
from mmgraph.ops.spmm import compiled, cpu
from mmgraph.ops.spmm import triton as kernels
from mmgraph.ops.spmm.matmul import backend
from mmgraph.ops.spmm.op import edge_dot_op, spmm_op, spmm_rows_adjoint_op, spmm_rows_op
from mmgraph.ops.spmm.product import Product
from tests.ops.op_graphs import BACKENDS, TOLERANCE, graphs, hub_graph, normal

WIDTHS = st.sampled_from([1, 3, 8, 17])
TYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


def same(impl, a, x, dtype, **options):
    """Values and gradients of ``impl`` and of the reference agree."""
    leaves = [t for t in (x, options.get("values")) if t is not None]
    out, truth = spmm(a, x, impl=impl, **options), spmm(a, x, impl="reference", **options)
    assert out.dtype == x.dtype
    torch.testing.assert_close(out, truth, **TOLERANCE[dtype])
    grad = normal(*out.shape, seed=9, dtype=dtype).detach()
    ours = torch.autograd.grad(out, leaves, grad)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, leaves, grad), **TOLERANCE[dtype])


def dense(a, x, rows=None):
    out = a.dense().to(x.dtype) @ x
    return out if rows is None else out[rows]


@pytest.mark.parametrize("impl", ["reference", *BACKENDS])
@settings(max_examples=12, deadline=None)
@given(graphs(), WIDTHS, st.booleans())
def test_spmm_equals_the_dense_product_and_its_gradient(impl, a, width, some_rows):
    x = normal(a.shape[1], width)
    rows = torch.tensor([a.shape[0] - 1, 0, 0]) if some_rows else None
    out, truth = spmm(a, x, rows=rows, impl=impl), dense(a, x, rows)
    torch.testing.assert_close(out, truth, **TOLERANCE[torch.float32])
    grad = torch.randn_like(truth)
    torch.testing.assert_close(
        torch.autograd.grad(out, x, grad), torch.autograd.grad(truth, x, grad), **TOLERANCE[torch.float32]
    )


@pytest.mark.parametrize("impl", BACKENDS)
@settings(max_examples=12, deadline=None)
@given(graphs(), WIDTHS, TYPES, st.booleans(), st.booleans())
def test_spmm_with_learned_values_and_mask_equals_the_reference(impl, a, width, dtype, some_rows, masked):
    x = normal(a.shape[1], width, dtype=dtype)
    options = {"values": normal(a.num_edges, seed=1, dtype=dtype)}
    if some_rows:
        options["rows"] = torch.tensor([0, a.shape[0] - 1, 0])
    if masked:
        options["mask"] = torch.arange(a.num_edges) % 3 > 0
    same(impl, a, x, dtype, **options)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_triton_shares_a_hub_row_between_programs(dtype, monkeypatch):
    monkeypatch.setattr(kernels, "share", lambda items: 16)
    a = hub_graph(edges=900)  # more carries than are added at a time
    same("triton", a, normal(30, 21, dtype=dtype), dtype, values=normal(a.num_edges, seed=3, dtype=dtype))


@pytest.mark.parametrize("impl", BACKENDS)
def test_one_number_repeated_is_read_as_many(impl):
    """Weights, and the gradient of a sum, that lie in memory once."""
    a, x, left = hub_graph(), normal(30, 5), normal(40, 5, seed=1)
    once = torch.tensor([0.5]).expand(a.num_edges)
    out, truth = (spmm(a, x, values=values, impl=impl) for values in (once, once.clone()))
    assert torch.equal(out, truth)
    ours, theirs = (edge_dot(a, left, x, impl=name).sum() for name in (impl, "reference"))
    torch.testing.assert_close(torch.autograd.grad(ours, (left, x)), torch.autograd.grad(theirs, (left, x)))


def test_triton_gives_the_same_bits_twice(monkeypatch):
    monkeypatch.setattr(kernels, "share", lambda items: 16)
    a, x = hub_graph(), normal(30, 5).detach()
    assert torch.equal(spmm(a, x, impl="triton"), spmm(a, x, impl="triton"))


@pytest.mark.parametrize("impl", BACKENDS)
def test_no_row_is_left_uninitialised(impl, monkeypatch):
    empty = torch.Tensor.new_empty

    def poisoned(tensor, *size, **options):
        out = empty(tensor, *size, **options)
        return out.fill_(torch.nan) if out.is_floating_point() else out

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    a = hub_graph()
    matmul, dot = backend(impl).matmul, backend(impl).edge_dot
    assert bool(matmul(a.indptr, a.indices, a.values, torch.ones(30, 4)).isfinite().all())
    assert bool(dot(a.indptr, a.indices, torch.ones(40, 4), torch.ones(30, 4)).isfinite().all())


@pytest.mark.parametrize("impl", BACKENDS)
@settings(max_examples=10, deadline=None)
@given(graphs(), WIDTHS, TYPES)
def test_edge_dot_equals_the_reference(impl, a, width, dtype):
    left, right = normal(a.shape[0], width, dtype=dtype), normal(a.shape[1], width, seed=1, dtype=dtype)
    out, truth = edge_dot(a, left, right, impl=impl), edge_dot(a, left, right, impl="reference")
    torch.testing.assert_close(out, truth, **TOLERANCE[dtype])
    full = (left.float() @ right.float().T)[a.row_indices().long(), a.indices.long()]
    torch.testing.assert_close(
        out.float(), full, **TOLERANCE[torch.bfloat16 if dtype == torch.bfloat16 else torch.float32]
    )
    grad = torch.randn_like(truth)
    torch.testing.assert_close(
        torch.autograd.grad(out, (left, right), grad),
        torch.autograd.grad(truth, (left, right), grad),
        **TOLERANCE[dtype],
    )


@pytest.mark.parametrize("norm", ["sym", "row"])
def test_scales_on_the_fly_equal_stored_weights(norm):
    a = CSR.bipartite(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 2, 2]), (3, 4))
    lean, stored = a.normalized(norm, store=False), a.normalized(norm)
    assert lean.values is None
    for rows in (None, torch.tensor([6, 0, 1])):
        x = normal(7, 5)
        out, truth = spmm(lean, x, rows=rows), spmm(stored, x, rows=rows)
        torch.testing.assert_close(out, truth)
        grad = torch.randn_like(truth)
        torch.testing.assert_close(torch.autograd.grad(out, x, grad), torch.autograd.grad(truth, x, grad))


@pytest.mark.parametrize("impl", ["reference", *BACKENDS])
@pytest.mark.parametrize("kind", ["all", "rows", "mask"])
@pytest.mark.parametrize("norm", ["sym", "row"])
def test_learned_weights_keep_the_scales_of_a_normalised_matrix(norm, kind, impl):
    weights = normal(5, dtype=torch.float64).detach().abs().requires_grad_()
    pairs = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 2, 2, 1, 1])
    a = CSR.bipartite(*pairs, (3, 4), weights).normalized(norm, store=False)
    x = normal(7, 5, dtype=torch.float64)
    rows = torch.tensor([6, 0, 6]) if kind == "rows" else None
    mask = torch.arange(10) % 4 > 0 if kind == "mask" else None
    out = spmm(a, x, rows=rows, mask=mask, impl=impl)
    kept = a.dense() if mask is None else _masked(a, mask)
    truth = kept @ x if rows is None else (kept @ x)[rows]
    torch.testing.assert_close(out, truth)
    grad = torch.randn_like(truth)
    ours = torch.autograd.grad(out, (x, weights), grad, retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, (x, weights), grad))


def _masked(a, mask):
    return torch.zeros(a.shape, dtype=a.dtype).index_put(
        (a.row_indices().long(), a.indices.long()), a.weights() * mask, accumulate=True
    )


def test_right_hand_sides_side_by_side():
    a, x = hub_graph(), normal(30, 3, 4)
    out = spmm(a, x)
    assert out.shape == (40, 3, 4)
    for m in range(3):
        torch.testing.assert_close(out[:, m], spmm(a, x[:, m]))


def test_mask_drops_edges_and_reaches_the_backward_of_a_symmetric_matrix():
    a = CSR.bipartite(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), (2, 2)).normalized("sym")
    mask = torch.tensor([True, False, True, True, True, False])
    x = normal(4, 3)
    kept = a.with_values(a.values * mask)
    truth = kept.dense() @ x
    torch.testing.assert_close(spmm(a, x, mask=mask), truth)
    grad = torch.randn(4, 3)
    ours = torch.autograd.grad(spmm(a, x, mask=mask), x, grad)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, x, grad))


def test_gradcheck_in_values_and_features_once_and_twice():
    a = hub_graph(6, 5, 12)
    x, values = normal(5, 3, dtype=torch.float64), normal(12, dtype=torch.float64)
    rows = torch.tensor([5, 0, 5])
    for function in (
        lambda x, v: spmm(a, x, values=v),
        lambda x, v: spmm(a, x, values=v, rows=rows, mask=torch.arange(12) % 4 > 0),
    ):
        assert torch.autograd.gradcheck(function, (x, values))
        assert torch.autograd.gradgradcheck(function, (x, values))
    assert torch.autograd.gradgradcheck(lambda x: spmm(a.to(dtype=torch.float64), x, rows=rows), (x,))
    left = normal(6, 3, dtype=torch.float64, seed=4)
    assert torch.autograd.gradcheck(lambda u, v: edge_dot(a, u, v), (left, x))
    assert torch.autograd.gradgradcheck(lambda u, v: edge_dot(a, u, v), (left, x))


def test_opcheck():
    a, x, rows = hub_graph(6, 5, 12), normal(5, 3), torch.tensor([5, 0, 5])
    learned, fixed = Operand.of(a.with_values(normal(12))), Operand.of(a)
    for op, *arguments in (
        (spmm_op, learned, x, "cpu"),
        (spmm_op, fixed, x, "reference"),
        (spmm_rows_op, fixed, rows, x, "cpu"),
        (spmm_rows_adjoint_op, fixed, rows, normal(3, 4), "cpu"),
        (edge_dot_op, Operand.pattern(a), normal(6, 3), x, "cpu"),
    ):
        torch.library.opcheck(op.torch, op.flat(arguments))


def test_spmm_runs_in_a_compiled_function():
    fresh, a, x = hub_graph(), hub_graph(), normal(30, 4)
    assert a.transpose() is a.transpose()
    compiled = torch.compile(lambda x: spmm(fresh, x).square().sum(), backend="aot_eager", fullgraph=True)
    for _ in range(2):  # the first call makes the transpose, the second reads it
        assert torch.equal(torch.autograd.grad(compiled(x), x)[0], torch.autograd.grad(spmm(a, x).square().sum(), x)[0])
    for made, known in zip(fresh._transposed_pattern(), a._transposed_pattern(), strict=True):
        assert torch.equal(made, known)


def test_a_matrix_is_normalised_in_a_compiled_function():
    fresh, x = hub_graph().with_values(None), normal(30, 4)
    compiled = torch.compile(lambda x: spmm(fresh.normalized("row"), x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), fresh.dense() / fresh.degree().clamp(min=1).unsqueeze(1) @ x)


def test_spmm_refuses_sizes_that_do_not_fit():
    a = hub_graph()
    with pytest.raises(ValueError, match=r"x must be \[30, D\], got \[40, 2\]"):
        spmm(a, torch.zeros(40, 2))
    with pytest.raises(TypeError, match="floating point"):
        spmm(a, torch.zeros(30, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"mask must be \[300\]"):
        spmm(a, torch.zeros(30, 2), mask=torch.ones(3))
    with pytest.raises(ValueError, match="impl must be"):
        spmm(a, torch.zeros(30, 2), impl="fast")
    with pytest.raises(ValueError, match=r"left must be \[40, \*\]"):
        edge_dot(a, torch.zeros(30, 2), torch.zeros(30, 2))


def test_every_triton_kernel_is_launched_on_the_device_of_its_tensors():
    for source in sorted(Path(kernels.__file__).parent.parent.glob("*/triton.py")):
        tree = ast.parse(source.read_text())
        inside = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.With) and "launching(" in ast.unparse(block.items[0])
            for node in ast.walk(block)
        }
        launches = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Subscript)]
        assert launches
        assert all(id(call) in inside for call in launches), source
    last = max(torch.cuda.device_count() - 1, 0) if torch.cuda.is_available() else 1
    with torch._subclasses.FakeTensorMode():
        assert kernels.launching(torch.empty(1, device=f"cuda:{last}")).idx == last
    with kernels.launching(torch.empty(1)):
        pass


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("weighted", [True, False])
def test_rows_of_uneven_degree_are_cut_by_edges(threads, weighted, monkeypatch):
    monkeypatch.setattr(cpu, "_SMALL", 100)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(1)
    row = torch.cat(
        [torch.randint(0, 50, (9_000,), generator=generator), torch.randint(50, 500, (3_000,), generator=generator)]
    )
    a = CSR.from_edges(row, torch.randint(0, 700, (12_000,), generator=generator), (510, 700))
    a = a.normalized("sym") if weighted else a
    assert (len(cpu._cuts(a.indptr, a.num_edges)) > 2) == (threads == 2)
    x = normal(700, 96)
    out, truth = spmm(a, x), dense(a, x)
    torch.testing.assert_close(out, truth, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(truth)
    ours = torch.autograd.grad(out, x, grad)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, x, grad), rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    graphs(max_edges=90),
    st.sampled_from([1, 15, 16, 31, 33, 64, 100, 130]),
    st.sampled_from(
        [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32)]
    ),
    st.sampled_from(["all", "rows", "packed"]),
)
def test_the_compiled_kernels_and_what_stands_in_for_them_equal_the_dense_product(a, width, types, kind):
    """The kernels are tried where the install made them, what stands in always."""
    dtype, result = types
    x = normal(a.shape[1], width, dtype=dtype).detach()
    rows = torch.tensor([a.shape[0] - 1, 0, 0]) if kind == "rows" else None
    slot, given = None, x
    if kind == "packed":
        kept = torch.arange(0, a.shape[1], 2)
        slot = torch.full((a.shape[1],), -1, dtype=torch.int32)
        slot[kept] = torch.arange(len(kept), dtype=torch.int32)
        given, x = x[kept], x * (slot >= 0).unsqueeze(1)
    plus_slot = torch.randint(-1, 2, (a.shape[0],), dtype=torch.int32)
    plus = normal(2, width, seed=5, dtype=result).detach()
    more = plus.float()[plus_slot.clamp(min=0).long()] * (plus_slot >= 0).unsqueeze(1)
    more = more if rows is None else more[rows]
    truth = dense(a, x.float(), rows) + more
    given = Product(a.indptr, a.indices, a.values, given, rows, slot, plus, plus_slot, result)
    left = normal(a.shape[0], width, seed=3, dtype=dtype).detach()
    products = left.float()[a.row_indices().long()] * x.float()[a.indices.long()]

    # how far float32 sums of that many terms can be apart, in whatever order, and one rounding of the result
    absolute = a.with_values(None if a.values is None else a.values.abs())
    size, half = dense(absolute, x.float().abs(), rows) + more.abs(), 2.0**-8
    room = 100 * 2.0**-23 * size + half * truth.abs() * (result == torch.bfloat16)
    # embedding_bag rounds the weights, the sum and what is added to it
    assert bool(((cpu.bags(given) - truth).abs() <= room + 3 * half * size * (dtype == torch.bfloat16)).all())
    apart = 140 * 2.0**-23 * products.abs().sum(1) + half * products.sum(1).abs() * (dtype == torch.bfloat16)
    assert bool(((cpu.panel_dots(a.indptr, a.indices, left, x) - products.sum(1)).abs() <= apart).all())
    if library() is not None:
        assert compiled.matmul(given).dtype == cpu.bags(given).dtype == result
        assert bool(((compiled.matmul(given) - truth).abs() <= room).all())
        assert bool(((compiled.edge_dot(a.indptr, a.indices, left, x) - products.sum(1)).abs() <= apart).all())


@pytest.mark.skipif(library() is None, reason="the kernels in C were not compiled")
def test_the_kernels_sum_in_float32_round_to_nearest_and_do_not_depend_on_threads():
    ones = CSR.from_edges(torch.zeros(1000, dtype=torch.long), torch.zeros(1000, dtype=torch.long), (1, 1))
    x = torch.full((1, 32), 1.0, dtype=torch.bfloat16)
    assert (
        compiled.matmul(Product(ones.indptr, ones.indices, None, x)).unique().item() == 1000
    )  # summed in bf16 it sticks at 256

    odd = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), torch.nan, torch.inf, 3.0e38])
    one = CSR.from_edges(torch.tensor([0]), torch.tensor([0]), (1, 1), torch.ones(1))
    for width in (6, 96):  # the part that goes number by number, and the one that goes by vectors
        values = odd.repeat(width // 6)
        # weight · 1 gives the float32 values: what is rounded is the sum
        columns = [
            compiled.matmul(Product(one.indptr, one.indices, v.view(1), torch.ones(1, 32, dtype=torch.bfloat16)))
            for v in odd
        ]
        rounded = torch.stack([c[0, 0] for c in columns]).repeat(width // 6)
        assert torch.equal(rounded.nan_to_num(7.0), values.bfloat16().nan_to_num(7.0))
        assert all(bool((c == c[0, 0]).all()) or bool(c.isnan().all()) for c in columns)

    a, wide = hub_graph(400, 300, 5000), normal(300, 70).detach()
    slot = torch.full((300,), -1, dtype=torch.int32)
    slot[::2] = torch.arange(150, dtype=torch.int32)
    assert int(a.degree().max()) > 600  # a hub's packed edges come in several portions
    packed = compiled.matmul(Product(a.indptr, a.indices, a.values, wide[::2].contiguous(), slot=slot))
    truth = dense(a, wide * (slot >= 0).unsqueeze(1))
    torch.testing.assert_close(packed, truth, rtol=1e-4, atol=1e-4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = compiled.matmul(Product(a.indptr, a.indices, a.values, wide))
        torch.set_num_threads(3)
        assert torch.equal(compiled.matmul(Product(a.indptr, a.indices, a.values, wide)), alone)
    finally:
        torch.set_num_threads(before)
