"""Variational parts against closed forms, and Mult-VAE against one written down from its paper."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmgraph.graph import RowSampler
from mmgraph.losses import bce, kl_gaussian, multinomial_nll
from mmgraph.models import VGAE, LightGCN, MultVAE
from mmgraph.nn import GaussianLayer, VAEHead, anneal, product_of_experts, reparameterise
from mmgraph.train import FitConfig, fit
from tests.worlds import checkerboard, twelve_nodes


def test_kl_has_its_closed_form():
    mean, log_var = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(4.0)]])
    # −½ Σ (1 + ln σ² − μ² − σ²) = −½ (1 − 1 − 1 + 1 + ln 4 − 4 − 4)
    assert kl_gaussian(mean, log_var).item() == pytest.approx(-0.5 * (-1 + 1 + math.log(4) - 8), rel=1e-6)
    m, s = torch.tensor([[0.5, 0.0]]), torch.tensor([[math.log(2.0), 0.3]])
    q = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    p = torch.distributions.Normal(m, (0.5 * s).exp())
    expected = torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(kl_gaussian(mean, log_var, m, s), expected)
    assert kl_gaussian(m, s, m, s).item() == 0
    two = kl_gaussian(mean.repeat(2, 1), log_var.repeat(2, 1), weight=torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(two, 2 * kl_gaussian(mean, log_var))


def test_kl_agrees_with_a_monte_carlo_estimate():
    torch.manual_seed(0)
    mean, log_var = torch.tensor([[0.7, -0.3]]), torch.tensor([[-1.0, 0.5]])
    z = reparameterise(mean.expand(200_000, 2), log_var.expand(200_000, 2))
    log_q = torch.distributions.Normal(mean, (0.5 * log_var).exp()).log_prob(z).sum(1)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    assert kl_gaussian(mean, log_var).item() == pytest.approx((log_q - log_p).mean().item(), abs=0.02)


def test_kl_is_finite_where_variances_are_extreme():
    value = kl_gaussian(torch.zeros(1, 1), torch.tensor([[-60.0]]), torch.zeros(1, 1), torch.tensor([[-60.0]]))
    assert value.item() == 0


def test_multinomial_nll_is_n_log_v_at_chance():
    counts = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    assert multinomial_nll(torch.zeros(2, 5), counts).item() == pytest.approx(1.5 * math.log(5), rel=1e-6)
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert multinomial_nll(logits, torch.tensor([[0.0, 2.0]])).item() == pytest.approx(-2 * math.log(0.75), rel=1e-6)


def test_bce_by_hand_and_at_a_thousand():
    assert bce(torch.zeros(2), torch.zeros(2, 3)).item() == pytest.approx(math.log(2), rel=1e-6)
    value = bce(torch.tensor([1.0]), torch.tensor([[2.0]])).item()
    assert value == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2, rel=1e-6)
    assert bce(torch.tensor([-1e3]), torch.tensor([[-1e3]])).item() == 500.0


def test_beta_is_a_function_of_the_step_alone():
    values = [float(anneal(t, 0.2, 4)) for t in (0, 1, 2, 4, 9)]
    assert values == pytest.approx([0.0, 0.05, 0.1, 0.2, 0.2])
    assert float(anneal(0, 0.3, 0)) == pytest.approx(0.3)
    head = VAEHead(4, beta=0.2, anneal_steps=4)
    assert [float(head.next_beta()) for _ in range(3)] == pytest.approx([0.0, 0.05, 0.1])
    head.eval()
    assert float(head.next_beta()) == float(head.next_beta()) == pytest.approx(0.15)
    assert "step" in head.state_dict()


def test_a_gaussian_layer_gives_a_mean_and_a_bounded_log_variance():
    torch.manual_seed(0)
    layer = GaussianLayer(3, 2, hidden=(5,))
    mean, log_var = layer(1e6 * torch.randn(4, 3))
    assert mean.shape == log_var.shape == (4, 2)
    assert log_var.abs().max() <= 10


def test_a_draw_has_the_mean_and_the_variance_asked_for():
    torch.manual_seed(0)
    z = reparameterise(torch.full((100_000,), 2.0), torch.full((100_000,), math.log(9.0)))
    assert z.mean().item() == pytest.approx(2, abs=0.05)
    assert z.std().item() == pytest.approx(3, abs=0.05)


def test_product_of_experts_weighs_by_precision_and_skips_the_absent():
    means = {"a": torch.tensor([[2.0], [2.0]]), "b": torch.tensor([[-4.0], [float("inf")]])}
    log_vars = {"a": torch.zeros(2, 1), "b": torch.full((2, 1), math.log(0.5))}
    present = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    mean, log_var = product_of_experts(means, log_vars, present)
    # precisions 1 (prior) + 1 + 2; mean (2 − 8) / 4.  Without b: 2 / 2
    torch.testing.assert_close(mean, torch.tensor([[-1.5], [1.0]]))
    torch.testing.assert_close(log_var, -torch.tensor([[4.0], [2.0]]).log())
    nothing = {"a": torch.zeros(2, dtype=torch.bool), "b": torch.zeros(2, dtype=torch.bool)}
    mean, log_var = product_of_experts(means, log_vars, nothing)
    assert mean.abs().max() == log_var.abs().max() == 0  # the prior itself
    with pytest.raises(ValueError, match="no experts needs a prior"):
        product_of_experts({}, {}, {})


class PaperMultVAE(nn.Module):
    """Mult-VAE from the paper and its public code: dense rows, encoder V-600-2·200, decoder 200-600-V."""

    def __init__(self, videos: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.q1, self.q2 = nn.Linear(videos, hidden), nn.Linear(hidden, 2 * latent)
        self.p1, self.p2 = nn.Linear(latent, hidden), nn.Linear(hidden, videos)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.q2(torch.tanh(self.q1(x / x.norm(dim=1, keepdim=True)))).chunk(2, 1)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.p2(torch.tanh(self.p1(z)))


def test_the_vae_head_on_interaction_rows_is_mult_vae():
    graph = twelve_nodes()
    torch.manual_seed(0)
    mine = MultVAE(graph, embedding_dim=4, hidden=6, dropout=0.0, beta=0.5, anneal_steps=0)
    paper = PaperMultVAE(7, 6, 4)
    with torch.no_grad():
        mine.weight.copy_(paper.q1.weight.T)
        mine.bias.copy_(paper.q1.bias)
        mine.head.posterior.out.load_state_dict(paper.q2.state_dict())
        assert mine.head.map is not None
        mine.head.map.load_state_dict(paper.p1.state_dict())
        mine.video.copy_(paper.p2.weight)
        mine.video_bias.copy_(paper.p2.bias[:, None])
    users = torch.arange(4)  # user 4 has no row to normalise
    x = graph.seen.dense()[users]
    mean, log_var = paper.encode(x)
    torch.testing.assert_close(mine.score(mine.encode(graph), users), paper.decode(mean), atol=1e-6, rtol=1e-5)
    batch = next(iter(RowSampler(graph, 4).epoch(0, 0)))
    mean, log_var = paper.encode(batch.row)
    torch.manual_seed(7)
    z = mean + torch.randn(4, 4) * torch.exp(0.5 * log_var)
    nll = -(batch.row * F.log_softmax(paper.decode(z), 1)).sum(1).mean()
    kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
    torch.manual_seed(7)
    terms = mine.loss(graph, batch)
    torch.testing.assert_close(terms["nll"], nll)
    torch.testing.assert_close(terms["kl"], 0.5 * kl)
    assert torch.isfinite(mine.score(mine.encode(graph), torch.tensor([4]))).all()


def test_half_the_input_is_dropped_in_training_only():
    graph = twelve_nodes()
    torch.manual_seed(0)
    model = MultVAE(graph, embedding_dim=4, hidden=6, anneal_steps=0)
    batch = next(iter(RowSampler(graph, 4).epoch(0, 0)))
    kl = {float(model.loss(graph, batch)["kl"].detach()) for _ in range(5)}
    assert len(kl) > 1
    model.eval()
    assert len({float(model.loss(graph, batch)["kl"].detach()) for _ in range(5)}) == 1


def test_the_elbo_falls_while_beta_rises():
    """The negative ELBO at β = 1, on the same noise after each stretch of training: down, though β goes up."""
    graph = checkerboard()
    torch.manual_seed(0)
    model = MultVAE(graph, embedding_dim=8, hidden=32, beta=1.0, anneal_steps=60)
    batch = next(iter(RowSampler(graph, 24).epoch(9, 9)))
    found, betas = [], []
    for epochs in (20, 20, 20, 20):
        model.eval()
        with torch.no_grad():
            torch.manual_seed(1)
            z, mean, log_var = model.head.sample(model.encode(graph).user[batch.user])
            logits = model.head.decode(z, model.encode(graph).video)
            found.append(float(multinomial_nll(logits, batch.row) + kl_gaussian(mean, log_var)))
            betas.append(float(model.head.next_beta()))
        fit(model, graph, config=FitConfig(epochs=epochs, batch_size=24, learning_rate=0.005), seed=2)
    assert betas == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert all(later < earlier for earlier, later in pairwise(found))


def test_the_step_is_in_the_checkpoint_so_resuming_is_exact(tmp_path):
    graph = checkerboard()

    def make() -> MultVAE:
        torch.manual_seed(0)
        return MultVAE(graph, embedding_dim=4, hidden=8, anneal_steps=10)

    config = FitConfig(epochs=6, batch_size=8, checkpoint_seconds=0)
    whole, first, second = make(), make(), make()
    fit(whole, graph, config=config, seed=3)
    fit(first, graph, config=config.model_copy(update={"epochs": 2}), seed=3, directory=tmp_path)
    fit(second, graph, config=config, seed=3, directory=tmp_path, resume=True)
    assert int(second.head.step) == 18
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_vgae_is_lightgcn_with_a_vae_head():
    graph = twelve_nodes()
    torch.manual_seed(4)
    named = VGAE(graph, embedding_dim=6)
    plain = LightGCN(graph, embedding_dim=6, head=VAEHead(6, beta=0.01))
    plain.load_state_dict(named.state_dict())
    batch = next(iter(named.sampler(graph, 8).epoch(0, 0)))
    terms = []
    for model in (named, plain):
        torch.manual_seed(5)
        terms.append(model.loss(graph, batch))
    assert set(terms[0]) == {"bpr", "kl", "l2"}
    assert all(torch.equal(terms[0][k], terms[1][k]) for k in terms[0])
    mean = named.head.posterior(named.encode(graph).user)[0]
    torch.testing.assert_close(named.score(named.encode(graph), torch.arange(5)), mean @ named.encode(graph).video.T)


def test_on_a_graph_the_kl_is_a_mean_over_the_batchs_users_times_beta():
    graph = twelve_nodes()
    model = LightGCN(graph, embedding_dim=6, head=VAEHead(6, beta=0.3, anneal_steps=0))
    batch = next(iter(model.sampler(graph, 8).epoch(0, 0)))
    mean, log_var = model.head.posterior(model.encode(graph).user[batch.user.unique()])
    kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
    torch.testing.assert_close(model.loss(graph, batch)["kl"], 0.3 * kl)
