"""The critic against its formulas, and where the gradients of its two terms go."""

from __future__ import annotations

import pytest
import torch

from mmgraph.nn import Critic
from mmgraph.nn.critic import gumbel_rows


def test_each_term_trains_one_side_alone():
    torch.manual_seed(0)
    critic = Critic(8, dropout=(0.0, 0.0))
    real, learned = torch.rand(5, 8), torch.rand(5, 8, requires_grad=True)
    judge, maker = critic(real, learned)
    judge.backward()
    assert learned.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())
    critic.zero_grad()
    maker = critic(real, learned)[1]
    maker.backward()
    assert learned.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_the_terms_are_differences_of_scores_and_a_penalty_on_the_slope():
    torch.manual_seed(0)
    critic = Critic(8, scale=3.0, penalty=0.0).eval()
    real, learned = torch.rand(5, 8), torch.rand(5, 8)
    judge, maker = critic(real, learned)
    torch.testing.assert_close(judge, critic.scores(learned).mean() - critic.scores(real).mean())
    torch.testing.assert_close(maker, -critic.scores(learned).mean())
    assert bool((critic.scores(real) > 0).all() and (critic.scores(real) < 3).all())
    # the slope is that of the whole rows, and the penalty on it trains every layer
    critic.penalty = 0.5
    torch.manual_seed(1)
    judge = critic(real, learned)[0]
    torch.manual_seed(1)
    share = torch.rand(5, 1)
    between = (share * real + (1 - share) * learned).requires_grad_()
    slope = torch.autograd.grad(critic.scores(between).sum(), between, create_graph=True)[0]
    expected = (
        critic.scores(learned).mean() - critic.scores(real).mean() + 0.5 * (slope.norm(dim=1) - 1).square().mean()
    )
    torch.testing.assert_close(judge, expected)
    weights = list(critic.parameters())
    for mine, theirs in zip(torch.autograd.grad(judge, weights), torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_training_makes_it_tell_real_from_learned():
    torch.manual_seed(0)
    critic = Critic(8, dropout=(0.0, 0.0))
    real, learned = torch.rand(32, 8), torch.rand(32, 8) - 1
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    before = critic(real, learned)[0].item()
    for _ in range(60):
        optimiser.zero_grad()
        critic(real, learned)[0].backward()
        optimiser.step()
    assert critic(real, learned)[0].item() < before - 20
    with pytest.raises(ValueError, match="in_dim"):
        Critic(0)


def test_rows_of_clicks_become_dense_ones():
    rows = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    torch.testing.assert_close(gumbel_rows(rows, 0.0, 0.5), (rows / 0.5).softmax(1))
    torch.manual_seed(0)
    drawn = torch.cat([gumbel_rows(torch.zeros(1, 4), 1.0, 0.1) for _ in range(200)])
    assert drawn.argmax(1).unique().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(drawn.sum(1), torch.ones(200))
