"""Full and sampled softmax over the catalogue."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mmgraph.losses import in_batch_nll, softmax, softmax_cross_entropy
from mmgraph.objectives import SoftmaxSample


def example(rows: int = 600, videos: int = 40, dim: int = 5):
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(rows, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    table = torch.randn(videos, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    return state, table, torch.randint(videos, (rows,), generator=generator)


def test_full_softmax_equals_cross_entropy_gradients_included():
    """600 rows are three blocks, the last of them partial."""
    state, table, target = example()
    assert softmax.BLOCK < 600
    loss = softmax_cross_entropy(state, table, target)
    (3 * loss).backward()
    mine = state.grad.clone(), table.grad.clone()
    state.grad = table.grad = None
    expected = F.cross_entropy(state @ table.T, target)
    (3 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mine[0], state.grad)
    torch.testing.assert_close(mine[1], table.grad)


def test_full_softmax_of_great_scores_is_finite():
    state, table, target = example()
    loss = softmax_cross_entropy(1e4 * state, table, target)
    loss.backward()
    assert loss.isfinite()
    assert state.grad.isfinite().all()


def sampled(state, table, target, negative, log_count):
    """As the objective forms it from a sample that the batch shares: the positive is never its own negative."""
    own = (state * table[target]).sum(1)
    other = (state @ table[negative].T).masked_fill(negative == target.unsqueeze(1), -torch.inf)
    sample = SoftmaxSample(own, torch.zeros_like(own), other, -log_count, None)
    return (torch.logaddexp(sample.own(1.0), sample.log_mass(1.0)) - own).mean()


def test_no_rows_cost_nothing():
    state, table, target = example()
    out = softmax_cross_entropy(state[:0], table, target[:0])
    assert out.item() == 0
    out.backward()
    assert table.grad.abs().sum() == 0


def test_full_softmax_without_gradients():
    state, table, target = example()
    with torch.no_grad():
        loss = softmax_cross_entropy(state, table, target)
    torch.testing.assert_close(loss, F.cross_entropy(state @ table.T, target))


def test_full_softmax_under_autocast_is_close():
    state, table, target = (t.float() if t.is_floating_point() else t for t in example())
    exact = softmax_cross_entropy(state.detach(), table.detach(), target)
    state, table = state.detach().requires_grad_(), table.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = softmax_cross_entropy(state, table, target)
    loss.backward()
    assert abs((loss - exact).item()) < 0.02
    assert state.grad.dtype == torch.float32


def test_sampled_softmax_with_every_video_once_is_the_full_softmax():
    state, table, target = example()
    every = torch.arange(40)
    mine = sampled(state, table, target, every, torch.zeros(40))
    expected = F.cross_entropy(state @ table.T, target)
    torch.testing.assert_close(mine, expected)
    gradient = [torch.autograd.grad(loss, (state, table)) for loss in (mine, expected)]
    for a, b in zip(*gradient, strict=True):
        torch.testing.assert_close(a, b)


def test_the_correction_makes_the_estimated_mass_unbiased():
    """e^loss · e^{s_y} = e^{s_y} + Σ_j e^{s_j}/c_j; over many samples from a skewed q its mean is the full mass."""
    state, table, target = example(rows=3)
    state, table = state.detach(), 0.5 * table.detach()
    q = torch.linspace(1, 20, 40).double()
    q /= q.sum()
    torch.manual_seed(0)
    total = torch.zeros(3, dtype=torch.float64)
    for _ in range(400):
        negative = torch.multinomial(q, 200, replacement=True)
        for i in range(3):
            one = slice(i, i + 1)
            loss = sampled(state[one], table, target[one], negative, (q[negative] * 200).log())
            total[i] += loss.exp() * (state[i] @ table[target[i]]).exp()
    torch.testing.assert_close(total / 400, (state @ table.T).exp().sum(1), rtol=0.02, atol=0)


@pytest.mark.parametrize("scale", [2.0, torch.tensor([0.5, 1.0, 2.0, 3.0, 0.1], dtype=torch.float64)])
def test_log_mass_is_logsumexp_over_what_is_left(scale):
    scores = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bias = torch.tensor([0.0, 0.7, -1.2, -torch.inf, 0.1, 0.0], dtype=torch.float64)
    without = torch.tensor([0, 1, 5, 3, 3])
    weight = torch.arange(1.0, 6.0, dtype=torch.float64)
    mine = softmax.log_mass(scores, scale, bias, without)
    shifted = scores * torch.as_tensor(scale).reshape(-1, 1) + bias
    expected = torch.stack([row[[j for j in range(6) if j != out]].logsumexp(0) for row, out in zip(shifted, without)])
    torch.testing.assert_close(mine, expected)
    assert torch.autograd.gradcheck(lambda s: softmax.log_mass(s, scale, bias, without), scores)
    for left, right in zip(*(torch.autograd.grad((x * weight).sum(), scores) for x in (mine, expected))):
        torch.testing.assert_close(left, right)


def test_log_mass_of_nothing_is_minus_infinity_and_of_great_scores_exact():
    scores = torch.tensor([[1e4, 1e4 - 1], [3.0, -torch.inf]], requires_grad=True)
    mass = softmax.log_mass(scores, without=torch.tensor([1, 0]))
    assert mass.tolist() == [1e4, -torch.inf]
    (gradient,) = torch.autograd.grad(mass[0] + mass[1].masked_fill(mass[1].isneginf(), 0.0), scores)
    assert gradient.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    broken = softmax.log_mass(torch.tensor([[torch.nan, 0.0]]), without=torch.tensor([1]))
    assert bool(broken.isnan().all())
    low = softmax.log_mass(torch.full((1, 1000), 1.0, dtype=torch.bfloat16))
    assert low.item() == pytest.approx(1 + math.log(1000), rel=1e-6)


def test_in_batch_nll_leaves_out_a_video_that_stands_twice_and_corrects_for_popularity():
    state, table = torch.randn(3, 4), torch.randn(3, 4, requires_grad=True)
    positive, log_q = torch.tensor([2, 0, 2]), torch.tensor([0.3, 0.5, 0.9]).log()  # nobody chose video 1
    scores = (state @ table.T - log_q)[:, positive]  # a column for each row of the batch
    terms = [
        torch.logsumexp(scores[i, keep], 0) - scores[i, i] for i, keep in ((0, [0, 1]), (1, [0, 1, 2]), (2, [1, 2]))
    ]
    mine, expected = in_batch_nll(state, table, positive, log_q), torch.stack(terms).mean()
    torch.testing.assert_close(mine, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, table) for x in (mine, expected)))
    plain = in_batch_nll(state, table, torch.arange(3))
    torch.testing.assert_close(plain, F.cross_entropy(state @ table.T, torch.arange(3)))
