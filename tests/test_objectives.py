"""Objectives against their formulas on a batch written out by hand, and each under every kind of model."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mmgraph.graph import Draws
from mmgraph.models import BPRMF, FREEDOM, MMGCN, GRU4Rec, LightGCN, NeuMF
from mmgraph.nn import DotHead, NCFHead
from mmgraph.objectives import (
    BCE,
    BPR,
    AlignmentUniformity,
    CosineContrastive,
    Examples,
    FullSoftmax,
    MaxMargin,
    Objective,
    SampledSoftmax,
)
from mmgraph.testing import alike, twelve_nodes

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
@pytest.mark.parametrize("cls", [BPRMF, LightGCN, MMGCN, FREEDOM, GRU4Rec])
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
