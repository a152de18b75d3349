from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import Neighbours, knn


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 2**31), st.booleans(), st.sampled_from([1, 500, 10**7]))
def test_knn_equals_the_reference_for_any_block(rows, k, seed, include_self, memory):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    present = torch.rand(rows, generator=generator) < 0.8
    options = {"present": present, "include_self": include_self}
    ours, truth = knn(x, k, memory=memory, **options), knn(x, k, impl="reference", **options)
    assert torch.equal(ours.index, truth.index)
    torch.testing.assert_close(ours.score, truth.score)
    assert bool((ours.index[~present] == -1).all())
    assert not bool(torch.isin(ours.index, (~present).nonzero().flatten()).any())
    if not include_self:
        assert not bool((ours.index == torch.arange(rows)[:, None]).any())


def test_knn_finds_cosine_neighbours_worked_out_by_hand():
    x = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    found = knn(x, 2)
    assert found.index.tolist() == [[1, 2], [2, 0], [1, 0]]
    torch.testing.assert_close(found.score, torch.tensor([[0.6, 0.0], [0.8, 0.6], [0.8, 0.0]]))


def test_knn_of_new_rows_in_bfloat16_and_with_absent_queries():
    generator = torch.Generator().manual_seed(0)
    x, query = torch.randn(50, 16, generator=generator), torch.randn(4, 16, generator=generator)
    exact, low = knn(x, 5, query=query), knn(x, 5, query=query, dtype=torch.bfloat16)
    assert low.score.dtype == torch.float32
    torch.testing.assert_close(low.score, exact.score, atol=2e-2, rtol=2e-2)
    half = knn(x, 5, query=query, query_present=torch.tensor([True, False, True, True]))
    assert half.index[1].tolist() == [-1] * 5
    assert torch.equal(half.index[[0, 2, 3]], exact.index[[0, 2, 3]])


def test_knn_by_faiss_agrees():
    pytest.importorskip("faiss")
    x = torch.randn(80, 8, generator=torch.Generator().manual_seed(0))
    present = torch.arange(80) % 5 > 0
    ours, theirs = knn(x, 4, present=present), knn(x, 4, present=present, impl="faiss")
    assert torch.equal(ours.index[present], theirs.index[present])


def test_knn_refuses_nan_and_wrong_sizes():
    with pytest.raises(ValueError, match="NaN"):
        knn(torch.tensor([[torch.nan, 0.0]]), 1)
    with pytest.raises(ValueError, match=r"present must be \[3\] bool"):
        knn(torch.zeros(3, 2), 1, present=torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="query"):
        knn(torch.zeros(3, 2), 1, query=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="impl"):
        knn(torch.zeros(3, 2), 1, impl="cpu")


def test_neighbours_are_named_and_padded():
    found = knn(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]), 3)
    assert isinstance(found, Neighbours)
    assert found.index.tolist() == [[1, 2, -1], [0, 2, -1], [0, 1, -1]]
    torch.testing.assert_close(found.score[:, 0], torch.tensor([0.5**0.5, 0.5**0.5, 0.0]))
    assert (found.score[:, 2] == -torch.inf).all()
