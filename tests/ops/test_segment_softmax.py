from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import CSR, attend, segment_softmax
from mmgraph.ops.operand import Operand
from mmgraph.ops.segment_softmax import attend_op, segment_softmax_op
from mmgraph.ops.segment_softmax import triton as kernels
from tests.ops.op_graphs import BACKENDS, TOLERANCE, graphs, hub_graph, normal

TYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


def dense_softmax(a, logits):
    """Row by row."""
    parts = [logits[a.indptr[i] : a.indptr[i + 1]].softmax(0) for i in range(a.shape[0])]
    return torch.cat(parts) if parts else logits


def logits_of(a, heads, dtype, off=False):
    out = normal(a.num_edges, heads, seed=5, dtype=dtype).detach() * 3
    if off:
        out[a.row_indices() == 0] = -torch.inf
        out[1::4] = -torch.inf
    return out.requires_grad_()


@pytest.mark.parametrize("impl", ["reference", *BACKENDS])
@settings(max_examples=8, deadline=None)
@given(graphs(), st.integers(1, 3))
def test_segment_softmax_equals_softmax_row_by_row(impl, a, heads):
    logits = logits_of(a, heads, torch.float32)
    out, truth = segment_softmax(a, logits, impl=impl), dense_softmax(a, logits)
    torch.testing.assert_close(out, truth)
    grad = torch.randn_like(truth)
    ours = torch.autograd.grad(out, logits, grad)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, logits, grad), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("impl", BACKENDS)
@settings(max_examples=8, deadline=None)
@given(graphs(), st.integers(1, 2), st.sampled_from([1, 5, 8]), TYPES, st.booleans())
def test_attend_equals_the_reference(impl, a, heads, width, dtype, off):
    same(impl, a, heads, width, dtype, off)


def same(impl, a, heads, width, dtype, off=False):
    logits, x = logits_of(a, heads, dtype, off), normal(a.shape[1], heads, width, dtype=dtype)
    out, truth = attend(a, logits, x, impl=impl), attend(a, logits, x, impl="reference")
    assert out.dtype == dtype
    torch.testing.assert_close(out, truth, **TOLERANCE[dtype])
    grad = torch.randn_like(truth)
    ours = torch.autograd.grad(out, (logits, x), grad)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, (logits, x), grad), **TOLERANCE[dtype])


@pytest.mark.parametrize("share", [4, 16, 256])
def test_triton_merges_the_pieces_of_a_hub_row(share, monkeypatch):
    monkeypatch.setattr(kernels, "share", lambda items: share)
    a = hub_graph(edges=200)  # with a share of 4, more pieces than are merged at a time
    same("triton", a, 2, 5, torch.float32)
    same("triton", a, 1, 3, torch.float32, off=True)


@pytest.mark.parametrize("impl", ["reference", *BACKENDS])
def test_large_logits_stay_finite_and_an_empty_row_is_zero(impl):
    a = CSR.from_edges(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 1]), (4, 2))
    logits = torch.tensor([1e4, 1e4 - 1, -1e4])
    out = attend(a, logits, torch.eye(2), impl=impl)
    share = torch.tensor([1.0, 0.0]).softmax(0)
    truth = torch.stack([share, torch.zeros(2), torch.tensor([0.0, 1.0]), torch.zeros(2)])
    torch.testing.assert_close(out, truth)
    torch.testing.assert_close(segment_softmax(a, logits, impl=impl), torch.tensor([*share, 1.0]))


def test_gradcheck_and_opcheck():
    a = hub_graph(6, 5, 12)
    logits, x = normal(12, 2, dtype=torch.float64), normal(5, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda l: segment_softmax(a, l), (logits,))
    assert torch.autograd.gradcheck(lambda l, x: attend(a, l, x), (logits, x))
    torch.library.opcheck(segment_softmax_op.torch, segment_softmax_op.flat((a.indptr, logits, "cpu")))
    torch.library.opcheck(attend_op.torch, attend_op.flat((Operand.pattern(a), logits, x, "cpu")))


def test_one_head_needs_no_head_dimension():
    a, logits, x = hub_graph(), normal(300), normal(30, 4)
    torch.testing.assert_close(attend(a, logits, x), attend(a, logits[:, None], x[:, None])[:, 0])


def test_sizes_that_do_not_fit_are_refused():
    a = hub_graph()
    with pytest.raises(ValueError, match="one an edge"):
        segment_softmax(a, torch.zeros(3))
    with pytest.raises(ValueError, match=r"x must be \[30, 2, D\]"):
        attend(a, torch.zeros(300, 2), torch.zeros(30, 3, 4))
