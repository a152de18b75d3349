from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import pair_dot
from mmgraph.ops.pair_dot import op, sparse
from mmgraph.ops.spmm import compiled
from tests.ops.op_graphs import BACKENDS, TOLERANCE, normal

SIZES = {  # B, N, n: one place a row, many with repeats, a row asked for by all, no place, no row at all
    "one": (5, 1, 7),
    "many": (4, 90, 6),
    "hub": (9, 3, 1),
    "none": (3, 0, 4),
    "empty": (0, 3, 4),
    "nothing": (0, 0, 0),
}


def places_of(rows: int, count: int, table: int, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(max(table, 1), (rows, count), generator=generator, device="cpu")
    return drawn.to(torch.get_default_device())


def same(impl, size, width, dtype):
    rows, count, table = size
    places, leaves = places_of(*size), (normal(rows, width, dtype=dtype), normal(table, width, seed=1, dtype=dtype))
    out, truth = pair_dot(*leaves, places, impl=impl), pair_dot(*leaves, places, impl="reference")
    assert out.shape == (rows, count)
    assert out.dtype == dtype
    torch.testing.assert_close(out, truth, **TOLERANCE[dtype])
    grad = normal(rows, count, seed=9, dtype=dtype).detach()
    ours, theirs = torch.autograd.grad(out, leaves, grad), torch.autograd.grad(truth, leaves, grad)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one, other, **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("impl", BACKENDS)
def test_products_and_gradients_are_the_references(impl, size, dtype):
    same(impl, size, 21, dtype)


@pytest.mark.parametrize("impl", BACKENDS)
def test_the_gradient_of_a_sum_is_one_number_repeated(impl):
    leaves, places = (normal(40, 5), normal(6, 5, seed=1)), places_of(40, 90, 6)
    ours, theirs = (pair_dot(*leaves, places, impl=name).sum() for name in (impl, "reference"))
    gradients = torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)  # sums of 600


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_without_the_compiled_kernels_too(dtype, monkeypatch):
    monkeypatch.setattr(compiled, "library", lambda: None)
    same("cpu", (6, 40, 5), 21, dtype)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 6), st.integers(0, 30), st.integers(1, 9), st.integers(1, 70), st.integers(0, 2**20))
def test_the_reference_is_a_dense_product_looked_up(rows, count, table, width, seed):
    left, right = normal(rows, width, seed=seed), normal(table, width, seed=seed + 1)
    places = places_of(rows, count, table, seed)
    full = (left.double() @ right.double().T).gather(1, places)
    weight = normal(rows, count, seed=seed + 2).detach()
    theirs = torch.autograd.grad((full * weight).sum(), (left, right))
    for impl in ("reference", "cpu"):
        out = pair_dot(left, right, places, impl=impl)
        torch.testing.assert_close(out, full.float(), rtol=1e-5, atol=1e-4)
        ours = torch.autograd.grad((out * weight).sum(), (left, right))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [3, 900])
def test_few_places_and_many_give_the_same(count, dtype):
    """What "auto" takes; it gathers few."""
    same("auto", (5, count, 70), 16, dtype)


def test_each_of_a_rows_repeats_counts():
    left, right = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 5.0]], requires_grad=True)
    out = pair_dot(left, right, torch.tensor([[1, 0, 1]]), impl="cpu")
    assert out.tolist() == [[10.0, 3.0, 10.0]]
    out.backward(torch.tensor([[1.0, 10.0, 100.0]]))
    assert right.grad.tolist() == [[10.0, 20.0], [101.0, 202.0]]


def test_counting_gives_the_transpose_that_sorting_gives():
    places, weight = places_of(50, 30, 11), normal(50, 30).detach()
    for counted, sorted_ in zip(
        sparse._counted(weight, places, 13), sparse._transposed(weight, places, 13), strict=True
    ):
        assert counted.dtype == sorted_.dtype
        assert torch.equal(counted, sorted_)


def test_gradcheck_twice_and_opcheck():
    left, right = normal(3, 4, dtype=torch.float64), normal(5, 4, dtype=torch.float64, seed=1)
    places = places_of(3, 6, 5)
    assert torch.autograd.gradcheck(lambda u, v: pair_dot(u, v, places, impl="cpu"), (left, right))
    assert torch.autograd.gradgradcheck(lambda u, v: pair_dot(u, v, places, impl="cpu"), (left, right))
    weight = normal(3, 6)
    for one, *arguments in (
        (op.pair_dot_op, normal(3, 4), normal(5, 4), places, "cpu"),
        (op.pair_sum_op, weight, normal(5, 4), places, "cpu"),
        (op.pair_spread_op, weight, normal(3, 4), places, 5, "reference"),
    ):
        torch.library.opcheck(one.torch, one.flat(arguments))


def test_rows_of_two_types_are_taken_as_the_wider():
    left, right, places = normal(3, 8).detach().bfloat16(), normal(4, 8, seed=1), places_of(3, 2, 4)
    out = pair_dot(left, right, places)
    torch.testing.assert_close(out, pair_dot(left.float(), right, places))
    out.sum().backward()
    assert right.grad.dtype == torch.float32


def test_what_does_not_fit_is_refused():
    left, right = torch.zeros(3, 4), torch.zeros(5, 4)
    with pytest.raises(ValueError, match=r"places holds 5 .*outside 0\.\.4"):
        pair_dot(left, right, torch.full((3, 2), 5))
    with pytest.raises(ValueError, match=r"places must be \[3, N\]"):
        pair_dot(left, right, torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"right must be \[\*, 4\] beside left"):
        pair_dot(left, torch.zeros(5, 3), torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match="places must be whole numbers"):
        pair_dot(left, right, torch.zeros(3, 2))
