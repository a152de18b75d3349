from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import CSR, dense_gram, gram, gram_blocks
from mmgraph.ops.gram import reference
from tests.ops.op_graphs import graphs, hub_graph


@settings(max_examples=40, deadline=None)
@given(graphs(), st.sampled_from([1, 200, 1 << 20]))
def test_gram_equals_the_dense_product_whole_and_in_blocks(a, memory):
    truth = reference.gram(a)
    torch.testing.assert_close(gram(a).dense(), truth)
    torch.testing.assert_close(gram(a, slice(1, 3)).dense(), truth[1:3])
    torch.testing.assert_close(dense_gram(a, memory=memory), truth)
    parts = list(gram_blocks(a, memory))
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
    assert parts[-1][0].stop == a.shape[1]
    torch.testing.assert_close(torch.cat([block.dense() for _, block in parts]), truth)


def test_gram_reads_scales_and_fills_what_is_given():
    a = hub_graph().with_values(None).normalized("row", store=False)
    out = torch.full((30, 30), 7.0)
    assert dense_gram(a, out) is out
    torch.testing.assert_close(out, reference.gram(a))
    with pytest.raises(ValueError, match=r"out must be \[30, 30\]"):
        dense_gram(a, torch.empty(30, 29))


def test_blocks_keep_to_their_memory():
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randint(0, n, (4000,), generator=generator) for n in (300, 500)]
    a = CSR.from_edges(*pairs, (300, 500)).distinct()
    memory = 60_000
    blocks = list(gram_blocks(a, memory))
    assert len(blocks) > 10
    assert all(block.num_edges * 16 <= memory for _, block in blocks)
    assert [rows.stop - rows.start for rows, _ in gram_blocks(a, rows=200)] == [200, 200, 100]
