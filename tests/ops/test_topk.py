from __future__ import annotations

import sys
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import CSR, TopK, best_of, topk, topk_scores

ops = sys.modules["mmgraph.ops.topk"]


def sorted_stably(scores, k):
    value, index = torch.sort(scores, dim=1, descending=True, stable=True)
    value, index = value[:, :k], index[:, :k]
    short = max(k - scores.shape[1], 0)
    index = torch.nn.functional.pad(index.masked_fill(value == -torch.inf, -1), (0, short), value=-1)
    return torch.nn.functional.pad(value, (0, short), value=-torch.inf), index


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.sampled_from([1, 7, 64, 1003, 2003]),
    st.integers(1, 20),
    st.sampled_from([2, 50, 10**6]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.sampled_from([None, 0.0, -0.5]),
    st.integers(0, 2**31),
)
def test_best_of_equals_a_stable_sort_ties_and_infinities_included(rows, width, k, levels, dtype, ceiling, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels, (rows, width), generator=generator).to(dtype) / levels
    if ceiling is not None:
        scores = scores.clamp(max=ceiling)
    scores[torch.rand(rows, width, generator=generator) < 0.3] = -torch.inf
    scores[torch.rand(rows, width, generator=generator) < 0.05] = -0.0
    if ceiling == -0.5:
        scores = scores - 1
    value, index = sorted_stably(scores, k)
    with patch.object(ops, "_WIDE", 64):
        best = best_of(scores, k)
    assert torch.equal(best.video, index)
    assert torch.equal(best.score, value)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**31), st.booleans(), st.sampled_from([1, 400, 10**6]))
def test_topk_equals_the_reference_for_any_block(users, k, seed, some_candidates, memory):
    generator = torch.Generator().manual_seed(seed)
    user = torch.randint(-2, 3, (users, 3), generator=generator).float()
    video = torch.randint(-2, 3, (60, 3), generator=generator).float()
    pairs = [torch.randint(0, size, (80,), generator=generator) for size in (50, 60)]
    seen = CSR.from_edges(*pairs, (50, 60))
    rows = torch.randint(0, 50, (users,), generator=generator)
    candidates = torch.rand(60, generator=generator) < 0.5 if some_candidates else None
    options = {"seen": seen, "users": rows, "candidates": candidates}
    ours = topk(user, video, k, memory=memory, **options)
    truth = topk(user, video, k, impl="reference", **options)
    assert torch.equal(ours.video, truth.video)
    torch.testing.assert_close(ours.score, truth.score)
    hit = seen.dense()[rows] > 0
    found = ours.video.clamp(min=0)
    assert not bool((hit.gather(1, found) & (ours.video >= 0)).any())


def test_topk_scores_takes_any_scorer():
    table = torch.randn(9, 30, generator=torch.Generator().manual_seed(0))
    users = torch.tensor([3, 3, 8])
    best = topk_scores(lambda rows: table[rows].clone(), users, 30, 4, memory=200)
    assert torch.equal(best.video, sorted_stably(table[users], 4)[1])
    assert topk_scores(lambda rows: table[rows], users[:0], 30, 4).video.shape == (0, 4)


def test_topk_never_makes_the_full_matrix():
    largest = 0

    def score(rows):
        nonlocal largest
        largest = max(largest, rows.numel())
        return torch.zeros(rows.numel(), 1000)

    best = topk_scores(score, torch.arange(100), 1000, 5, memory=8 * 4000)
    assert largest == 8
    assert best.video[0].tolist() == [0, 1, 2, 3, 4]


def test_topk_refuses_nan_and_wrong_sizes():
    scores = torch.zeros(1, 300)
    scores[0, 7] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        best_of(scores, 3)
    with pytest.raises(ValueError, match="user and video"):
        topk(torch.zeros(2, 3), torch.zeros(2, 4), 1)
    with pytest.raises(ValueError, match="there are 2 videos"):
        topk(torch.zeros(2, 3), torch.zeros(2, 3), 1, seen=CSR.from_edges(torch.zeros(0), torch.zeros(0), (2, 3)))
    with pytest.raises(ValueError, match="impl"):
        topk(torch.zeros(2, 3), torch.zeros(2, 3), 1, impl="triton")


def test_topk_is_named_and_padded():
    best = topk(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [3.0, 0.0]]), 3)
    assert isinstance(best, TopK)
    assert best.video.tolist() == [[1, 0, -1]]
    assert best.score.tolist() == [[3.0, 2.0, -torch.inf]]
