from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.ops import CSR, TopKIndex, topk
from mmgraph.ops.compiled import library
from mmgraph.ops.topk import cpu

needs_kernel = pytest.mark.skipif(library() is None, reason="the kernels in C were not compiled")


def small(*size: int, generator: torch.Generator, most: int = 3) -> torch.Tensor:
    """Whole numbers: every way of adding them gives the same score, and ties are many."""
    return torch.randint(-most, most + 1, size, generator=generator).float()


def truth(index, user, k, hidden, seen=None, users=None, candidates=None):
    """By all scores and a stable sort."""
    scores = user @ index.video.T + index.bias
    scores = scores.masked_fill(hidden, -torch.inf)
    if seen is not None:
        scores[:, : seen.shape[1]].masked_fill_(seen.dense()[users] > 0, -torch.inf)
    if candidates is not None:
        scores = scores.masked_fill(~candidates, -torch.inf)
    value, column = torch.sort(scores, dim=1, descending=True, stable=True)
    short = (0, max(k - len(index), 0))
    column = torch.nn.functional.pad(column.masked_fill(value == -torch.inf, -1)[:, :k], short, value=-1)
    return torch.nn.functional.pad(value[:, :k], short, value=-torch.inf), column


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(0, 2**31), st.booleans())
def test_whatever_was_changed_the_lists_are_those_of_a_stable_sort(data, seed, compiled):
    generator = torch.Generator().manual_seed(seed)
    start = data.draw(st.sampled_from([0, 30, 700, 2048]))
    with patch.object(cpu, "compiled", lambda: compiled and library() is not None):
        index = TopKIndex(small(start, 5, generator=generator))
    hidden = torch.zeros(start, dtype=torch.bool)
    for _ in range(data.draw(st.integers(1, 5))):
        change = data.draw(st.sampled_from(["append", "set", "bias", "hide", "show"]))
        count = data.draw(st.sampled_from([0, 1, 7, 600])) if change == "append" else min(len(index), 9)
        rows = torch.randperm(len(index), generator=generator)[:count]
        if change == "append":
            bias = small(count, generator=generator) if data.draw(st.booleans()) else None
            with patch.object(cpu, "compiled", lambda: compiled and library() is not None):
                new = index.append(small(count, 5, generator=generator), bias)
            assert new.tolist() == list(range(len(hidden), len(hidden) + count))
            hidden = torch.cat([hidden, torch.zeros(count, dtype=torch.bool)])
        elif change == "set":
            index.set(rows, small(len(rows), 5, generator=generator))
        elif change == "bias":
            index.set_bias(rows, small(len(rows), generator=generator))
        else:
            (index.hide if change == "hide" else index.show)(rows)
            hidden[rows] = change == "hide"
        assert len(index) == len(hidden)
        assert torch.equal(index.hidden, hidden)
        users = data.draw(st.sampled_from([1, 3, 40]))
        user = small(users, 5, generator=generator)
        options = {}
        if data.draw(st.booleans()) and len(index):
            pairs = [torch.randint(0, n, (200,), generator=generator) for n in (6, min(len(index), 600))]
            options["seen"] = CSR.from_edges(*pairs, (6, min(len(index), 600)))
            options["users"] = torch.randint(0, 6, (users,), generator=generator)
        if data.draw(st.booleans()):
            shape = (users, len(index)) if data.draw(st.booleans()) else (len(index),)
            options["candidates"] = torch.rand(shape, generator=generator) < 0.5
        k = data.draw(st.sampled_from([1, 4, 10]))
        found = index.search(user, k, memory=data.draw(st.sampled_from([1, 20_000, 1 << 26])), **options)
        value, column = truth(index, user, k, hidden, **options)
        assert torch.equal(found.video, column)
        assert torch.equal(found.score, value)


@needs_kernel
@pytest.mark.parametrize("users", [1, 31, 50])
def test_a_user_s_list_does_not_depend_on_who_asks_beside_him(users):
    generator = torch.Generator().manual_seed(users)
    centre = torch.randn(20, 32, generator=generator)
    video = centre[torch.randint(20, (9000,), generator=generator)] + torch.randn(9000, 32, generator=generator) / 4
    video[4000:4100] = video[3000] * (1 + torch.linspace(-1e-6, 1e-6, 100)[:, None])  # near ties
    user = torch.cat([video[3000:3001], centre, torch.randn(29, 32, generator=generator)])
    index = TopKIndex(video)
    alone = [index.search(one, 20) for one in user[:users].split(1)]
    together = index.search(user[:users], 20)
    assert torch.equal(together.video, torch.cat([a.video for a in alone]))
    assert torch.equal(together.score, torch.cat([a.score for a in alone]))
    reference = topk(user[1:users].double(), video.double(), 20, impl="reference")
    assert torch.equal(together.video[1:], reference.video)


@needs_kernel
def test_a_table_bounds_every_score_from_above_by_little():
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(3001, 15, generator=generator) * torch.rand(3001, 1, generator=generator) * 30
    bias = torch.randn(3001, generator=generator) * 100
    index = TopKIndex(video, bias=bias)
    user = torch.randn(40, 15, generator=generator)
    norm = user.norm(dim=1, keepdim=True)
    score = user.double() @ video.double().T + bias.double()
    for part in (slice(0, 3), slice(0, 40)):  # a scan, a product
        bound = index._upper(user[part], norm[part]).double()
        stored = bound + 2.0**-8 * 1.02 * bound.abs()  # its own rounding
        assert bool((stored >= score[part]).all())
        slack = 2.0**-6 * 1.1 * (norm[part].double() * video.norm(dim=1) + bias.abs()) + 2.0**-7 * bound.abs()
        assert bool((bound - score[part] <= slack).all())


@needs_kernel
def test_bounds_and_not_products_answer_where_they_can():
    generator = torch.Generator().manual_seed(0)
    index = TopKIndex(torch.randn(4000, 16, generator=generator))
    user = torch.randn(20, 16, generator=generator)
    with patch.object(TopKIndex, "_products", side_effect=AssertionError("scored all in float32")):
        assert index.search(user, 10).video.shape == (20, 10)
        assert index.search(user[:1], 10, candidates=torch.arange(4000) < 2000).video.max() < 2000


def test_growth_is_amortised_and_counted():
    index = TopKIndex(torch.ones(1000, 4))
    before = index.nbytes
    index.append(torch.ones(1, 4))
    grown = index.nbytes
    assert before < grown < 1.4 * before
    index.append(torch.ones(200, 4))
    assert index.nbytes == grown
    assert index.width == 4
    assert index.device.type == "cpu"


def test_an_index_over_a_tensor_reads_it_in_place():
    video = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    index = TopKIndex.over(video)
    assert index.video.data_ptr() == video.data_ptr()
    assert torch.equal(index.search(video[:4], 3).video, TopKIndex(video).search(video[:4], 3).video)


@pytest.mark.parametrize(
    ("run", "kind", "match"),
    [
        (lambda i: i.append(torch.tensor([[float("nan")] * 4])), ValueError, "video holds a vector that is NaN"),
        (lambda i: i.append(torch.full((1, 4), 1e20)), ValueError, "longer than"),
        (lambda i: i.append(torch.zeros(1, 5)), ValueError, r"video must be \[\*, 4\]"),
        (lambda i: i.append(torch.zeros(1, 4).double()), TypeError, "float64"),
        (lambda i: i.append(torch.zeros(1, 4), torch.tensor([float("inf")])), ValueError, "bias holds"),
        (lambda i: i.append(torch.zeros(2, 4), torch.zeros(1)), ValueError, r"bias must be \[2\]"),
        (lambda i: i.set(torch.tensor([-1]), torch.zeros(1, 4)), ValueError, "rows holds -1"),
        (lambda i: i.set(torch.tensor([9]), torch.zeros(1, 4)), ValueError, "rows holds 9"),
        (lambda i: i.set(torch.tensor([1, 1]), torch.zeros(2, 4)), ValueError, "twice"),
        (lambda i: i.set_bias(torch.tensor([1]), float("nan")), ValueError, "bias holds"),
        (lambda i: i.hide(torch.tensor([1.0])), TypeError, "rows must be whole"),
        (lambda i: i.show(torch.tensor([True])), TypeError, "rows must be whole"),
        (lambda i: i.search(torch.zeros(1, 5), 2), ValueError, r"user must be \[\*, 4\]"),
        (lambda i: i.search(torch.zeros(1, 4).double(), 2), TypeError, "float64"),
        (lambda i: i.search(torch.full((1, 4), float("nan")), 2), ValueError, "NaN"),
        (lambda i: i.search(torch.zeros(1, 4), torch.tensor(2)), TypeError, "k must be"),
        (lambda i: i.search(torch.zeros(1, 4), 10**9), ValueError, "k must be"),
        (lambda i: i.search(torch.zeros(1, 4), 2, candidates=torch.ones(9)), TypeError, "candidates must be bool"),
        (lambda i: i.search(torch.zeros(1, 4), 2, candidates=torch.ones(8).bool()), ValueError, "candidates must"),
        (lambda i: i.search(torch.zeros(1, 4), 2, candidates=torch.ones(2, 9).bool()), ValueError, "candidates must"),
        (lambda i: i.search(torch.zeros(1, 4), 2, seen=CSR.from_edges([0], [0], (1, 10))), ValueError, "9 videos"),
        (lambda i: i.search(torch.zeros(2, 4), 2, seen=CSR.from_edges([0], [0], (1, 9))), ValueError, "users holds 1"),
        (lambda i: i.search(torch.zeros(1, 4), 2, seen=torch.zeros(1, 9)), TypeError, "CSR"),
    ],
)
def test_what_would_break_the_index_is_refused_and_changes_nothing(run, kind, match):
    index = TopKIndex(torch.ones(9, 4))
    with pytest.raises(kind, match=match):
        run(index)
    assert len(index) == 9
    assert bool((index.video == 1).all())
    assert not bool(index.bias.any())
    assert not bool(index.hidden.any())
