from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import CSR, TopK, TopKIndex, best_of, topk, topk_scores
from mmgraph.ops.compiled import library
from mmgraph.ops.topk import cpu, select


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
    with patch.object(select, "_WIDE", 64), patch.object(cpu, "library", lambda: None):
        check(best_of(scores, k), value, index)
    check(best_of(scores, k), value, index)


def check(best, value, index):
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


needs_kernel = pytest.mark.skipif(library() is None, reason="the kernels in C were not compiled")


@needs_kernel
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([3, 128, 300, 5000]), st.integers(1, 9), st.integers(0, 2000), st.integers(0, 2**31), st.booleans()
)
def test_select_passes_over_what_was_seen(width, k, pairs, seed, narrow):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-9, 9, (6, width), generator=generator).float()
    seen = CSR.from_edges(*(torch.randint(0, n, (pairs,), generator=generator) for n in (4, width)), (4, width))
    users = torch.tensor([3, 0, 0, 1, 2, 3])
    kept = scores.clone()
    value, column = cpu.select(scores.bfloat16() if narrow else scores, min(k, width), seen, users)
    truth, index = sorted_stably(scores.masked_fill(seen.dense()[users] > 0, -torch.inf), min(k, width))
    assert torch.equal(value, truth)
    assert torch.equal(column, index)
    assert torch.equal(scores, kept)


@needs_kernel
@pytest.mark.parametrize("place", [0, 130, 4999])
@pytest.mark.parametrize("nan", [float("nan"), -float("nan")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_is_never_passed_over(place, nan, dtype):
    scores = torch.rand(2, 5000).to(dtype)
    scores[1, place] = nan
    with pytest.raises(ValueError, match="NaN"):
        best_of(scores, 3)


def embeddings(users=40, videos=3000, width=16, seed=0):
    """Directions in clusters, lengths with a long tail, as training makes them."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(12, width, generator=generator)

    def draw(count):
        near = centre[torch.randint(12, (count,), generator=generator)] + torch.randn(count, width, generator=generator)
        return near * torch.rand(count, 1, generator=generator).square()

    return draw(users), draw(videos)


def bounded(video, user, k, seen=None, users=None):
    """The lists by bounds alone, and the rows that are not certain."""
    return TopKIndex(video)._bounded(user, k, seen, users, None)


@needs_kernel
@pytest.mark.parametrize("count", [40, 3])  # by products, by a scan
@pytest.mark.parametrize("seed", range(5))
def test_bounds_in_bfloat16_leave_the_exact_list(seed, count):
    user, video = embeddings(users=count, seed=seed)
    video[1500:1503] = video[7]  # ties
    seen = CSR.from_edges(torch.randint(0, 40, (900,)), torch.randint(0, 3000, (900,)), (40, 3000))
    users = torch.arange(count)
    found, unsure = bounded(video, user, 10, seen, users)
    truth = topk(user, video, 10, seen=seen, users=users, impl="reference")
    sure = torch.ones(count, dtype=torch.bool).index_fill(0, unsure, False)
    assert bool(sure.any())
    assert torch.equal(found.video[sure], truth.video[sure])
    torch.testing.assert_close(found.score[sure], truth.score[sure])


@needs_kernel
def test_bounds_hold_where_rounding_decides_and_say_when_they_cannot():
    # 2,999 videos that bfloat16 cannot tell apart, the best of them by 1e-6: no list of bounds can be certain
    user, video = torch.ones(3, 8), torch.ones(3000, 8)
    video[2500] += 1e-6
    assert bounded(video, user, 5)[1].tolist() == [0, 1, 2]
    with patch.object(cpu, "bounds_pay", lambda *_: True):
        assert topk(user, video, 5).video.tolist() == [[2500, 0, 1, 2, 3]] * 3
        user[1] = torch.inf
        truth = topk(user, video, 5, impl="reference").video
        assert torch.equal(topk(user, video, 5, memory=12_000).video, truth)


@needs_kernel
@pytest.mark.parametrize("scale", [1e-25, 1e-19, 1e12, 1e18])
def test_products_that_vanish_or_overflow_in_bfloat16_are_left_to_float32(scale):
    user, video = embeddings(users=20)
    user, video = user.double() * scale, video.double() * (scale if scale < 1 else 1.0)
    truth = topk(user, video, 10, impl="reference").video
    found = TopKIndex(video.float()).search(user.float(), 10)
    if scale != 1e-25:  # there the scores themselves vanish in float32
        assert torch.equal(found.video, truth)
    assert torch.equal(found.video, topk(user.float(), video.float(), 10, impl="reference").video)


@needs_kernel
def test_topk_by_bounds_settles_the_rows_it_was_not_sure_of():
    user, video = embeddings(users=200)
    # a crowd at the top of those who are like user 0: to bfloat16 they are one, to float32 they are not
    length = video.norm(dim=1).max() * (
        1 + 1e-3 * torch.randperm(200, generator=torch.Generator().manual_seed(1)) / 200
    )
    video[1000:1200] = user[0] / user[0].norm() * length.unsqueeze(1)
    truth = topk(user, video, 10, impl="reference")
    assert 0 < len(bounded(video, user, 10)[1]) < 50
    candidates = torch.arange(3000) % 7 > 0
    with patch.object(cpu, "bounds_pay", lambda *_: True):
        best = topk(user, video, 10, memory=3000 * 2 * 70)
        some = topk(user, video, 10, candidates=candidates)
    assert torch.equal(best.video, truth.video)
    torch.testing.assert_close(best.score, truth.score)
    assert torch.equal(some.video, topk(user, video, 10, candidates=candidates, impl="reference").video)


def test_a_block_is_larger_where_a_call_takes_long_to_arrive():
    cpu_, far = torch.device("cpu"), torch.device("cuda")
    assert select.room(None, cpu_) == 64 << 20
    assert select.room(None, far) == 1 << 30
    assert select.room(7, cpu_) == select.room(7, far) == 7
    with pytest.raises(ValueError, match="memory"):
        topk(torch.zeros(2, 3), torch.zeros(2, 3), 1, memory=0)


def test_rows_with_ties_are_settled_part_by_part():
    scores = torch.randint(0, 3, (37, 200), generator=torch.Generator().manual_seed(0)).float()
    sizes = []
    settled = select._ordered_ties

    def counted(part, k):
        sizes.append(len(part))
        return settled(part, k)

    with patch.object(cpu, "library", lambda: None), patch.object(select, "_ordered_ties", counted):
        check(best_of(scores, 5), *sorted_stably(scores, 5))
    assert max(sizes) == 37 // 8
    assert sum(sizes) == 37
