"""Heads against independent implementations of the papers they come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmgraph.graph import PairSampler
from mmgraph.models import BPRMF, MMGCN, HeteroMMGCN, LightGCN, NeuMF
from mmgraph.nn import CosineHead, DotHead, Head, MMoEHead, NCFHead, VAEHead
from mmgraph.train import FitConfig, fit
from tests.worlds import checkerboard, twelve_nodes

HEADS = [DotHead, CosineHead, lambda: NCFHead(16), lambda: VAEHead(16), lambda: MMoEHead(16)]
PROPAGATIONS = [BPRMF, LightGCN, MMGCN, HeteroMMGCN]


@pytest.mark.parametrize("make", HEADS)
def test_all_videos_and_given_candidates_get_the_same_scores(make):
    torch.manual_seed(0)
    head: Head = make()
    user, video = torch.randn(5, 16), torch.randn(9, 16)
    some = torch.randint(9, (5, 4))
    whole = head(user, video)
    assert whole.shape == (5, 9)
    torch.testing.assert_close(head(user, video[some]), whole.gather(1, some), atol=1e-5, rtol=1e-5)
    at = head.compare_at(head.state(user), video, some)
    torch.testing.assert_close(at, whole.gather(1, some), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", PROPAGATIONS)
@pytest.mark.parametrize("make", [lambda: NCFHead(16), lambda: VAEHead(16, beta=0.01), CosineHead])
def test_any_propagation_takes_any_head_by_one_argument(model, make):
    """…and ranks the held-out diagonal of the checkerboard above what a user does not like."""
    graph = checkerboard()
    torch.manual_seed(0)
    built = model(graph, embedding_dim=16, head=make())
    report = fit(built, graph, config=FitConfig(epochs=25, batch_size=128, learning_rate=0.02), seed=1)
    assert "loss/bpr" in report.history[0]
    scores = built.score(built.encode(graph), torch.arange(24)).detach()
    dislikes = (torch.arange(24)[:, None] + torch.arange(24)) % 2 == 1
    above = scores.diagonal()[:, None] > scores
    assert above[dislikes].float().mean() >= 0.9


class PaperNeuMF(nn.Module):
    """NeuMF written down from the paper: separate tables, a concatenation, no trick."""

    def __init__(self, users: int, videos: int, dim: int) -> None:
        super().__init__()
        self.p_gmf, self.q_gmf = nn.Embedding(users, dim), nn.Embedding(videos, dim)
        self.p_mlp, self.q_mlp = nn.Embedding(users, dim), nn.Embedding(videos, dim)
        self.mlp = nn.Sequential(nn.Linear(2 * dim, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.h = nn.Linear(dim + 128, 1)

    def forward(self, user: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        gmf = self.p_gmf(user) * self.q_gmf(video)
        mlp = self.mlp(torch.cat([self.p_mlp(user), self.q_mlp(video)], -1))
        return self.h(torch.cat([gmf, mlp], -1)).squeeze(-1)


def test_ncf_on_raw_embeddings_is_neumf():
    graph = twelve_nodes()
    torch.manual_seed(2)
    mine, paper = NeuMF(graph, embedding_dim=8), PaperNeuMF(5, 7, 8)
    with torch.no_grad():
        mine.user.copy_(torch.cat([paper.p_gmf.weight, paper.p_mlp.weight], 1))
        mine.video.copy_(torch.cat([paper.q_gmf.weight, paper.q_mlp.weight], 1))
        head = mine.head
        assert isinstance(head, NCFHead)
        head.user_layer.weight.copy_(paper.mlp[0].weight[:, :8])
        head.video_layer.weight.copy_(paper.mlp[0].weight[:, 8:])
        head.video_layer.bias.copy_(paper.mlp[0].bias)
        head.layers[0].load_state_dict(paper.mlp[2].state_dict())
        head.out.load_state_dict(paper.h.state_dict())
    users = torch.arange(5)
    expected = paper(users[:, None].expand(5, 7), torch.arange(7).expand(5, 7))
    torch.testing.assert_close(mine.score(mine.encode(graph), users), expected, atol=1e-6, rtol=1e-5)
    batch = next(iter(PairSampler(graph, 8, 3).epoch(0, 0)))
    logits = torch.cat(
        [paper(batch.user, batch.positive), paper(batch.user[:, None].expand(-1, 3), batch.negative).flatten()]
    )
    labels = torch.cat([torch.ones(8), torch.zeros(24)])
    torch.testing.assert_close(mine.loss(graph, batch)["bce"], F.binary_cross_entropy(torch.sigmoid(logits), labels))


def test_ncf_scores_in_blocks_without_changing_them(monkeypatch):
    torch.manual_seed(0)
    head, user, video = NCFHead(8), torch.randn(7, 8), torch.randn(11, 8)
    whole = head(user, video)
    for pairs in (1, 5, 12, 30):
        monkeypatch.setattr("mmgraph.nn.heads.ncf.BLOCK_PAIRS", pairs)
        torch.testing.assert_close(head(user, video), whole)


def test_cosine_ignores_lengths_and_is_bounded_by_the_temperature():
    head, user, video = CosineHead(0.1), torch.randn(3, 4), torch.randn(5, 4)
    torch.testing.assert_close(head(user * 7, video * 0.1), head(user, video))
    torch.testing.assert_close(head(user, user).diagonal(), torch.full((3,), 10.0))
    assert head(user, torch.zeros(1, 4)).abs().max() == 0


def test_one_expert_is_the_shared_bottom():
    torch.manual_seed(0)
    head = MMoEHead(6, experts=1, expert_dim=10, tower_dim=5)
    assert head.gate is None
    user, video = torch.randn(4, 6), torch.randn(4, 3, 6)
    bottom = nn.Linear(18, 10)
    bottom.load_state_dict(head.expert.state_dict())
    u = user[:, None].expand(4, 3, 6)
    shared = F.relu(bottom(torch.cat([u, video, u * video], -1)))
    for t in range(4):
        tower = F.relu(shared @ head.tower[t] + head.tower_bias[t])
        torch.testing.assert_close(head.logits(user, video)[..., t], tower @ head.out[t] + head.out_bias[t])


def test_several_experts_are_mixed_by_softmax_gates():
    torch.manual_seed(0)
    head = MMoEHead(6, tasks=("click", "like"), experts=3, expert_dim=4, tower_dim=5)
    user, video = torch.randn(1, 6), torch.randn(1, 1, 6)
    x = torch.cat([user, video[0], user * video[0]], -1)[0]
    experts = [
        F.relu(head.expert.weight[4 * e : 4 * e + 4] @ x + head.expert.bias[4 * e : 4 * e + 4]) for e in range(3)
    ]
    assert head.gate is not None
    for t in range(2):
        gate = (head.gate.weight[3 * t : 3 * t + 3] @ x).softmax(0)
        mixed = sum(g * e for g, e in zip(gate, experts, strict=True))
        expected = F.relu(mixed @ head.tower[t] + head.tower_bias[t]) @ head.out[t] + head.out_bias[t]
        torch.testing.assert_close(head.logits(user, video)[0, 0, t], expected)


def test_ranking_weighs_the_tasks():
    torch.manual_seed(0)
    head = MMoEHead(6, tasks=("click", "like"), weights=(1.0, 0.5))
    user, video = torch.randn(2, 6), torch.randn(5, 6)
    logits = head.logits(user, video.expand(2, 5, 6))
    expected = F.logsigmoid(logits[..., 0]) + 0.5 * F.logsigmoid(logits[..., 1])
    torch.testing.assert_close(head(user, video), expected)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="rows of width 16, got 8 and 8"):
        NCFHead(8, shared=False)(torch.randn(1, 8), torch.randn(1, 8))
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        CosineHead(0.0)
    with pytest.raises(ValueError, match="do not go together"):
        MMoEHead(8, weights=(1.0,))
