"""Objectives against their formulas on a batch written out by hand, and each under every kind of model."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import Draws
from mmgraph.models import BPRMF, FREEDOM, MMGCN, GRU4Rec, LightGCL, LightGCN, NeuMF, XSimGCL
from mmgraph.nn import DotHead, NCFHead
from mmgraph.nn.memory import UserMeans
from mmgraph.objectives import (
    BCE,
    BPR,
    AdaptiveTemperature,
    AlignmentUniformity,
    CosineContrastive,
    DrawnPairs,
    Examples,
    FullSoftmax,
    MaxMargin,
    Objective,
    SampledSoftmax,
    SoftmaxSample,
    lambert_w,
)
from mmgraph.testing import alike, checkerboard, twelve_nodes
from mmgraph.train import FitConfig, fit

ALL = [
    BPR(negatives=2),
    BCE(),
    SampledSoftmax(),
    SampledSoftmax(temperature=0.2, cosine=True, exponent=0.84),
    SampledSoftmax(negatives=3, temperature=0.5),
    SampledSoftmax(negatives=5, shared=True, log_q=True),
    MaxMargin(negatives=2),
    CosineContrastive(negatives=5, margin=0.2),
    BPR(negatives=4, hardest=True),
    FullSoftmax(),
    FullSoftmax(temperature=0.2, cosine=True),
    AlignmentUniformity(gamma=2.0),
    AdaptiveTemperature(),
    AdaptiveTemperature(negatives=3, spread=0.6),
    AdaptiveTemperature(negatives=5, shared=True),
]


def batch(shared: bool = False) -> Examples:
    """4 pairs over 5 of the graph's videos (rows 1, 2, 4, 5, 6), the first video chosen twice."""
    generator = torch.Generator().manual_seed(0)
    state, video = torch.randn(4, 3, generator=generator), torch.randn(5, 3, generator=generator)
    negative = torch.tensor([0, 3, 4]) if shared else torch.tensor([[1, 2], [3, 4], [0, 4], [1, 1]])
    positive, users = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 1, 0, 3])
    state[2] = state[0]  # the same user twice
    return Examples(state, video, positive, negative, users, torch.tensor([1, 2, 4, 5, 6]))


def value(objective: Objective, examples: Examples) -> dict[str, torch.Tensor]:
    return objective(DotHead(), examples, twelve_nodes())


def test_bpr_and_bce_are_their_losses_on_the_scores():
    e = batch()
    scores = e.state @ e.video.T
    own, other = scores.gather(1, e.positive[:, None]), scores.gather(1, e.negative)
    torch.testing.assert_close(value(BPR(2), e)["bpr"], -F.logsigmoid(own - other).mean())
    both = torch.cat([F.logsigmoid(own).flatten(), F.logsigmoid(-other).flatten()])
    torch.testing.assert_close(value(BCE(2), e)["bce"], -both.mean())


def test_many_drawn_negatives_are_never_gathered_whatever_the_objective(monkeypatch):
    """…and the gradients are those of all scores looked up."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(5, (4, 600), generator=generator)  # of five videos: each many times
    losses = [
        (BPR(600), lambda s, c: -F.logsigmoid(s[:, :1] - s[:, 1:]).mean()),
        (CosineContrastive(600, 0.1, 2.0), lambda s, c: 1 - c[:, :1].mean() + 2 * (c[:, 1:] - 0.1).clamp_min(0).mean()),
        (SampledSoftmax(600, temperature=0.5), lambda s, c: -(s / 0.5).log_softmax(1)[:, 0].mean()),
    ]
    for objective, wanted in losses:
        assert isinstance(objective, (DrawnPairs, SampledSoftmax))
        assert objective.draws == Draws(600)
        e = batch()._replace(negative=drawn)
        leaves = e.state.requires_grad_(), e.video.requires_grad_()
        scores = (e.state @ e.video.T).gather(1, e.candidates)
        cosines = (F.normalize(e.state) @ F.normalize(e.video).T).gather(1, e.candidates)
        truth = wanted(scores, cosines)
        with monkeypatch.context() as patch:
            patch.setattr(F, "embedding", None)
            ours = torch.stack(list(value(objective, e).values())).sum()
        torch.testing.assert_close(ours, truth)
        gradients = (torch.autograd.grad(loss, leaves) for loss in (ours, truth))
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_margins_the_hardest_negative_and_simplex():
    e = batch()
    scores = e.state @ e.video.T
    own, other = scores.gather(1, e.positive[:, None]), scores.gather(1, e.negative)
    torch.testing.assert_close(value(MaxMargin(2, margin=0.5), e)["margin"], (0.5 + other - own).clamp_min(0).mean())
    hardest = -F.logsigmoid(own - other.amax(1, keepdim=True)).mean()
    torch.testing.assert_close(value(BPR(2, hardest=True), e)["bpr"], hardest)
    cos = F.cosine_similarity(e.state[:, None], e.video[None], dim=-1)
    terms = value(CosineContrastive(2, margin=0.1, weight=3.0), e)
    torch.testing.assert_close(terms["positive"], (1 - cos.gather(1, e.positive[:, None])).mean())
    torch.testing.assert_close(terms["negative"], 3 * (cos.gather(1, e.negative) - 0.1).clamp_min(0).mean())


def test_the_in_batch_softmax_leaves_out_the_same_video_and_corrects_for_popularity():
    e = batch()
    # videos 1, 1, 2, 5 of the graph, chosen 2, 2, 2 and 1 of 10 times
    q = torch.tensor([2.0, 2.0, 2.0, 1.0]) / 10
    scores = (e.state @ e.video[e.positive].T) / 0.5 - q.log()
    expected = 0.0
    for i, others in enumerate(([2, 3], [2, 3], [0, 1, 3], [0, 1, 2])):
        logits = torch.stack([scores[i, i], *(scores[i, j] for j in others)])
        expected = expected - torch.log_softmax(logits, 0)[0] / 4
    torch.testing.assert_close(value(SampledSoftmax(temperature=0.5, log_q=True), e)["softmax"], expected)


def test_cosines_and_the_exponent_give_bsl():
    e = batch()
    cos = F.cosine_similarity(e.state[:, None], e.video[e.positive][None], dim=-1) / 0.1
    expected = torch.stack(
        [
            0.84 * cos[i, others].logsumexp(0) - cos[i, i]
            for i, others in enumerate(([2, 3], [2, 3], [0, 1, 3], [0, 1, 2]))
        ]
    ).mean()
    got = value(SampledSoftmax(temperature=0.1, cosine=True, exponent=0.84), e)["softmax"]
    torch.testing.assert_close(got, expected)


def test_a_softmax_sample_counts_a_video_as_often_as_the_batch_names_it():
    e = batch()
    sample = SampledSoftmax().sample(DotHead(), e, twelve_nodes())
    assert isinstance(sample, SoftmaxSample)
    assert sample.bias.exp().tolist() == e.positive.bincount(minlength=len(e.video)).tolist()
    scores = e.state @ e.video.T
    assert torch.equal(sample.own(2.0), 2 * scores.gather(1, e.positive[:, None]).squeeze(1))


def test_shared_negatives_are_corrected_for_their_share_and_never_the_positive():
    e = batch(shared=True)
    objective = SampledSoftmax(negatives=3, shared=True, power=1.0, log_q=True)
    share = torch.tensor([3.0, 2.0, 1.0]) / 17  # videos 1, 5, 6 of the graph: (count + 1) / Σ
    other = e.state @ e.video[e.negative].T - (3 * share).log()
    own = (e.state * e.video[e.positive]).sum(1)
    keep = [[1, 2], [1, 2], [0, 1, 2], [0, 2]]
    expected = sum(torch.cat([own[i : i + 1], other[i, k]]).logsumexp(0) - own[i] for i, k in enumerate(keep)) / 4
    torch.testing.assert_close(value(objective, e)["softmax"], expected)
    assert objective.draws == Draws(3, shared=True, power=1.0)


def test_the_full_softmax_is_cross_entropy():
    e = batch()._replace(video_row=None)
    torch.testing.assert_close(
        value(FullSoftmax(temperature=0.5), e)["softmax"], F.cross_entropy(e.state @ e.video.T / 0.5, e.positive)
    )


def test_alignment_and_uniformity_count_each_row_once():
    e = batch()
    u, v = F.normalize(e.state, dim=1), F.normalize(e.video, dim=1)
    terms = value(AlignmentUniformity(gamma=3.0), e)
    torch.testing.assert_close(terms["align"], (u - v[e.positive]).square().sum(1).mean())

    def uniformity(x):
        pairs = [(-2 * (a - b).square().sum()).exp() for i, a in enumerate(x) for b in x[i + 1 :]]
        return torch.stack(pairs).mean().log()

    expected = 3.0 * (uniformity(u[[0, 1, 3]]) + uniformity(v[[0, 1, 3]])) / 2
    torch.testing.assert_close(terms["uniform"], expected)


@pytest.mark.parametrize("objective", ALL, ids=lambda o: f"{type(o).__name__}-{len(repr(o))}")
@pytest.mark.parametrize("cls", [BPRMF, LightGCN, LightGCL, XSimGCL, MMGCN, FREEDOM, GRU4Rec])
def test_any_objective_serves_any_model(cls, objective):
    """A step has finite terms, and reaches the videos' embeddings."""
    graph = alike(twelve_nodes())
    torch.manual_seed(0)
    more = {"content": 0.0} if cls is FREEDOM else {}
    model = cls(graph, embedding_dim=8, objective=objective, **more)
    for batch in model.sampler(graph, 8).epoch(0, 0):
        terms = model.loss(graph, batch)
        assert all(bool(t.isfinite()) for t in terms.values())
        torch.stack(list(terms.values())).sum().backward()
    largest = max((p for p in model.parameters()), key=lambda p: p.shape[0])
    assert largest.grad is not None
    assert largest.grad.abs().sum() > 0


def test_senseless_settings_and_heads_are_refused_by_name():
    for make, word in (
        (lambda: BPR(0), "negatives"),
        (lambda: BCE(-1), "negatives"),
        (lambda: SampledSoftmax(temperature=0.0), "temperature"),
        (lambda: SampledSoftmax(temperature=math.nan), "temperature"),
        (lambda: SampledSoftmax(shared=True), "shared"),
        (lambda: SampledSoftmax(exponent=-1.0), "exponent"),
        (lambda: FullSoftmax(temperature=-1.0), "temperature"),
        (lambda: AlignmentUniformity(gamma=-1.0), "gamma"),
        (lambda: LightGCN(twelve_nodes(), head=NCFHead(64), objective=FullSoftmax()), "FullSoftmax compares rows"),
        (lambda: NeuMF(twelve_nodes(), objective=AlignmentUniformity()), "NCFHead"),
    ):
        with pytest.raises(ValueError, match=word):
            make()


def test_lambert_w_is_the_inverse_of_w_times_its_exponential():
    w = torch.linspace(-0.999, 5, 200, dtype=torch.float64)
    torch.testing.assert_close(lambert_w(w * w.exp()), w, atol=1e-9, rtol=1e-9)
    assert lambert_w(torch.tensor([-1 / math.e, 0.0])).tolist() == pytest.approx([-1, 0], abs=1e-3)


def test_means_of_users_are_those_of_the_last_full_window():
    means = UserMeans(3)
    means.add(torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0, 5.0]), 4)
    assert not means.known.any()  # three of four
    means.add(torch.tensor([1]), torch.tensor([7.0]), 4)
    assert means.mean.tolist() == [2, 6, 0]
    assert means.known.tolist() == [True, True, False]
    means.add(torch.tensor([2, 2, 2, 2]), torch.ones(4), 4)
    assert means.mean.tolist()[2] == 1
    assert means.known.tolist() == [False, False, True]
    means.eval().add(torch.tensor([0] * 4), torch.ones(4), 4)
    assert means.known.tolist() == [False, False, True]


def test_adap_tau_sharpens_for_users_of_small_loss():
    graph, objective = twelve_nodes(), AdaptiveTemperature(spread=0.5, gap=0.4, quantile=0.2)
    # users have 3, 2, 2, 3 and 0 clicks: the .2 quantile is 1.6, so 4 users with 10 clicks count
    w_0 = math.log(0.5 * 4 * 7 / 10) / 0.4
    assert float(objective.base(graph)) == pytest.approx(w_0)
    # at the .5 quantile, 2, those of 3 clicks alone; nobody has more than the .75 quantile, so all count
    for quantile, users, clicks in ((0.5, 2, 6), (0.75, 5, 10)):
        other = AdaptiveTemperature(gap=0.4, quantile=quantile)
        assert float(other.base(graph)) == pytest.approx(math.log(0.5 * users * 7 / clicks) / 0.4)
    memory, e = UserMeans(5), batch()
    first = objective(DotHead(), e._replace(memory=memory), graph)["softmax"]
    cos = F.cosine_similarity(e.state[:, None], e.video[None, e.positive], dim=-1)
    own, keep = cos.diagonal(), e.positive[None] != e.positive[:, None]
    other = cos.masked_fill(~keep, -torch.inf)
    torch.testing.assert_close(first, ((w_0 * other).logsumexp(1) - w_0 * own).mean())
    # 4 of the 10 examples that are an epoch; 4 and 2 more are one and begin the next
    for _ in range(2):
        objective(DotHead(), e._replace(memory=memory), graph)
    each = other.logsumexp(1) - own
    mean = {0: (each[0] + each[2]) / 2, 1: each[1], 3: each[3]}
    assert memory.known.tolist() == [True, True, False, True, False]
    middle = sum(mean.values()) / 3
    w = w_0 * torch.ones(5)
    for user, value_ in mean.items():
        apart = ((value_ - middle) / 0.5).clamp_min(-1 / math.e)
        w[user] = w_0 * (-lambert_w(apart)).exp()
    torch.testing.assert_close(objective.sharpness(graph, memory), w)
    easy, hard = min(mean, key=mean.get), max(mean, key=mean.get)
    assert w[easy] > w_0 > w[hard]
    term = objective(DotHead(), e._replace(memory=memory.eval()), graph)["softmax"]
    torch.testing.assert_close(term, ((w[e.user_row, None] * other).logsumexp(1) - w_0 * own).mean())
    with pytest.raises(ValueError, match="memory"):
        objective(DotHead(), e, graph)


def test_what_adap_tau_remembers_is_saved_and_resumed(tmp_path):
    graph, states = checkerboard(), []
    for parts in ((4,), (2, 4)):
        torch.manual_seed(0)
        model = LightGCN(graph, embedding_dim=8, objective=AdaptiveTemperature())
        assert "memory.mean" in model.state_dict()
        for epochs in parts:
            config = FitConfig(epochs=epochs, batch_size=64)
            fit(model, graph, config=config, directory=tmp_path / str(len(parts)), resume=True)
            torch.manual_seed(0)
            model = model if epochs == 4 else LightGCN(graph, embedding_dim=8, objective=AdaptiveTemperature())
        states.append(model.state_dict())
    assert states[0]["memory.known"].all()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_batch_without_any_negative_has_a_finite_loss():
    e = batch()._replace(positive=torch.zeros(4, dtype=torch.int64), memory=UserMeans(5))
    e = e._replace(state=e.state.requires_grad_())
    for objective in (AdaptiveTemperature(), SampledSoftmax(exponent=0.84)):
        term = next(iter(value(objective, e).values()))
        (gradient,) = torch.autograd.grad(term, e.state)
        assert bool(term.isfinite())
        assert bool(gradient.isfinite().all())
