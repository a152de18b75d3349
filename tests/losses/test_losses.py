"""Losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from mmgraph.losses import alignment, bpr, embedding_l2, info_nce


def test_bpr_is_minus_log_sigmoid():
    positive, negative = torch.tensor([1.0, 2.0]), torch.tensor([[0.0, 3.0], [2.0, -1.0]])
    differences = [1.0, -2.0, 0.0, 3.0]
    expected = -sum(math.log(1 / (1 + math.exp(-x))) for x in differences) / 4
    assert bpr(positive, negative).item() == pytest.approx(expected, rel=1e-6)


def test_bpr_is_finite_and_exact_at_a_thousand():
    score = torch.tensor([-1e3], requires_grad=True)
    loss = bpr(score, torch.tensor([[1e3]]))
    loss.backward()
    assert loss.item() == 2000.0
    assert score.grad is not None
    assert score.grad.item() == -1.0
    assert bpr(torch.tensor([1e3]), torch.tensor([[-1e3]])).item() == 0.0


def test_info_nce_is_log_b_at_chance_and_zero_when_apart():
    same = torch.ones(8, 4)
    assert info_nce(same, same).item() == pytest.approx(math.log(8), rel=1e-6)
    assert info_nce(torch.eye(4), torch.eye(4), temperature=0.01).item() == pytest.approx(0.0, abs=1e-6)
    one, other = torch.randn(5, 3), torch.randn(5, 3)
    both = (info_nce(one, other) + info_nce(other, one)) / 2
    torch.testing.assert_close(info_nce(one, other, symmetric=True), both)
    a, b = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [1, 0]])
    # rows: logits [1, 1] and [0, 0] at τ = 1
    assert info_nce(a, b, temperature=1.0).item() == pytest.approx(math.log(2), rel=1e-6)


def test_alignment_counts_only_pairs_that_are_present():
    views = {
        "text": torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]]),
        "visual": torch.tensor([[0.0, 1.0], [0.0, 4.0], [9.0, 9.0]]),
        "audio": torch.tensor([[3.0, 0.0], [7.0, 7.0], [1.0, 1.0]]),
    }
    present = {
        "text": torch.tensor([True, True, False]),
        "visual": torch.tensor([True, True, False]),
        "audio": torch.tensor([True, False, True]),
    }
    # unit vectors: text-visual 2 (row 0) and 0 (row 1), text-audio 0, visual-audio 2 (row 0): 4 over 4 pairs
    assert alignment(views, present).item() == pytest.approx(1.0)
    # as they stand: 2 and 4, 4, 10: 20 over 4
    assert alignment(views, present, kind="l2_raw").item() == pytest.approx(5.0)


def test_alignment_without_a_pair_is_zero_with_a_gradient():
    x = torch.randn(3, 2, requires_grad=True)
    none = {"a": torch.zeros(3, dtype=torch.bool), "b": torch.ones(3, dtype=torch.bool)}
    loss = alignment({"a": x, "b": x * 2}, none)
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad is not None
    assert x.grad.abs().sum() == 0


def minimise(kind: str) -> float:
    torch.manual_seed(0)
    views = {m: torch.randn(32, 8, requires_grad=True) for m in ("text", "visual", "audio")}
    present = {m: torch.ones(32, dtype=torch.bool) for m in views}
    optimizer = torch.optim.Adam(views.values(), lr=0.05, weight_decay=1e-2)
    for _ in range(600):
        optimizer.zero_grad()
        alignment(views, present, kind).backward()
        optimizer.step()
    with torch.no_grad():
        unit = torch.nn.functional.normalize(views["text"], dim=1)
        return float(torch.pdist(unit).mean() if kind == "info_nce" else views["text"].norm(dim=1).mean())


def test_the_published_form_shrinks_everything_to_nothing_and_info_nce_keeps_videos_apart():
    """All of these minimise alignment alone. A linear encoder h = w·x stands for the projections."""
    w = torch.full((3,), 1.0, requires_grad=True)
    x = torch.randn(64, 3, 8, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD([w], lr=0.02)
    everything = torch.ones(64, dtype=torch.bool)
    for _ in range(600):
        optimizer.zero_grad()
        views = {str(m): w[m] * x[:, m] for m in range(3)}
        alignment(views, dict.fromkeys(views, everything), "l2_raw").backward()
        optimizer.step()
    assert w.abs().max().item() < 1e-3  # collapsed

    w = torch.full((3,), 1.0, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        views = {str(m): w[m] * x[:, m] for m in range(3)}
        alignment(views, dict.fromkeys(views, everything), "l2").backward()
        optimizer.step()
    assert w.abs().min().item() > 0.9  # the guard: size is not what it measures

    assert minimise("info_nce") > 1.0  # videos stay apart on the unit sphere


def test_unknown_alignment_is_refused():
    with pytest.raises(ValueError, match="'l2', 'l2_raw' or 'info_nce', got 'cca'"):
        alignment({}, {}, kind="cca")


def test_embedding_l2_is_half_the_squares_over_the_batch():
    assert embedding_l2(3, torch.tensor([[1.0, 2.0], [0.0, 2.0]]), torch.tensor([[3.0]])).item() == (9 + 9) / 2 / 3
