from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from mmgraph.ops import CSR, spmm
from tests.ops.op_graphs import graphs, hub_graph, normal


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_csr_holds_its_edges_sorted_and_its_transpose(a):
    dense = a.dense()
    assert dense.shape == a.shape
    rows = a.row_indices().long()
    key = rows * a.shape[1] + a.indices
    assert bool((key[1:] >= key[:-1]).all())
    assert torch.equal(a.degree(), torch.bincount(rows, minlength=a.shape[0]))
    torch.testing.assert_close(a.transpose().dense(), dense.T)
    assert a.transpose().transpose() is a


def test_from_edges_adds_duplicates_and_carries_gradients():
    values = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    a = CSR.from_edges(torch.tensor([1, 0, 1]), torch.tensor([2, 0, 2]), (3, 3), values)
    assert a.dense().tolist() == [[2, 0, 0], [0, 0, 5], [0, 0, 0]]
    (a.values * torch.tensor([10.0, 1.0, 1.0])).sum().backward()
    assert values.grad.tolist() == [1, 10, 1]


def test_bipartite_is_its_own_transpose():
    a = CSR.bipartite(torch.tensor([0, 1, 1]), torch.tensor([2, 0, 0]), (2, 3), torch.tensor([1.0, 2.0, 4.0]))
    assert a.transpose() is a
    torch.testing.assert_close(a.dense(), a.dense().T)
    assert a.dense()[1, 2] == 6


def test_symmetric_is_checked():
    row, col = torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0])
    with pytest.raises(ValueError, match="no \\(j, i\\)"):
        CSR.from_edges(row, col, (3, 3), symmetric=True)
    with pytest.raises(ValueError, match="no \\(j, i\\)"):
        CSR.from_edges(row[:2], col[:2], (3, 3), torch.tensor([1.0, 2.0]), symmetric=True)
    assert CSR.from_edges(row[:2], col[:2], (3, 3), torch.tensor([2.0, 2.0]), symmetric=True).symmetric


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_normalized_equals_the_dense_formula_and_isolated_nodes_give_zero(store, weighted):
    values = torch.tensor([1.0, 2.0, 3.0]) if weighted else None
    a = CSR.bipartite(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), (3, 3), values)
    dense = a.dense()
    degree = dense.sum(1)
    inverse = torch.where(degree > 0, degree, torch.inf).reciprocal()
    sym = a.normalized("sym", store=store)
    torch.testing.assert_close(sym.dense(), inverse.sqrt()[:, None] * dense * inverse.sqrt())
    assert sym.symmetric
    torch.testing.assert_close(spmm(sym, torch.eye(6)), sym.dense())
    assert (sym.values is not None) == (store or weighted)
    row = a.normalized("row", store=store)
    torch.testing.assert_close(row.dense(), inverse[:, None] * dense)
    torch.testing.assert_close(row.transpose().dense(), row.dense().T)
    assert a.normalized(None) is a
    with pytest.raises(ValueError, match="norm must be"):
        a.normalized("col")
    with pytest.raises(ValueError, match="negative"):
        a.with_values(-torch.ones(a.num_edges)).normalized("sym")


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_distinct_keeps_each_edge_once(a):
    assert torch.equal(a.distinct().dense(), (a.with_values(None).dense() > 0).float())
    torch.testing.assert_close(a.distinct("sum").dense(), a.dense())
    assert a.distinct("sum").num_edges == a.distinct().num_edges
    once = a.distinct()
    assert once.distinct() is once
    pairs = CSR.bipartite(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0]), (2, 2))
    assert pairs.distinct().symmetric
    with pytest.raises(ValueError, match="values must be"):
        a.distinct("first")


def test_select_repeats_rows_in_their_order():
    a = hub_graph()
    rows = torch.tensor([5, 39, 0, 5])
    part, edges = a.select(rows)
    torch.testing.assert_close(part.dense(), a.dense()[rows])
    assert torch.equal(a.indices[edges], part.indices)
    lean = a.with_values(None).normalized("row", store=False)
    torch.testing.assert_close(lean.select(rows)[0].dense(), lean.dense()[rows])


def test_with_values_and_to_keep_the_pattern():
    a = hub_graph()
    values = normal(a.num_edges)
    b = a.with_values(values)
    assert b.values is values
    assert b.indices is a.indices
    torch.testing.assert_close(b.transpose().dense(), b.dense().T)
    assert a.to(dtype=torch.float64).dense().dtype == torch.float64
    assert a.to("cpu") is a
    assert "40 x 30" in repr(a)


def test_csr_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        CSR.from_edges(torch.tensor([0]), torch.tensor([2]), (3, 2))
    with pytest.raises(ValueError, match="values must be"):
        CSR.from_edges(torch.tensor([0]), torch.tensor([1]), (3, 2), torch.ones(2))
    with pytest.raises(ValueError, match="square"):
        CSR(torch.tensor([0, 0]), torch.empty(0, dtype=torch.int32), None, (1, 2), symmetric=True)
    with pytest.raises(AttributeError):
        hub_graph().shape = (1, 1)
