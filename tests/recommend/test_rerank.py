"""Re-ranking with a weight: 0 changes nothing, the aim is met, and what it costs."""

from __future__ import annotations

import math

import polars as pl
import pytest
import torch

from mmgraph.evaluate import EvalConfig, ExposureShare, evaluate_lists
from mmgraph.graph import MultimodalGraph
from mmgraph.ops import CSR, TopK
from mmgraph.recommend import (
    Calibrated,
    Constraint,
    Quota,
    Reranker,
    Share,
    Varied,
    calibration_kl,
    discount,
    genre_profiles,
    genres_of,
)


def lists(users: int, videos: int, seed: int = 0) -> TopK:
    scores = torch.rand(users, videos, generator=torch.Generator().manual_seed(seed))
    best = scores.sort(dim=1, descending=True)
    return TopK(best.values, best.indices)


def test_weight_zero_changes_nothing_whatever_the_aim():
    found = lists(7, 12)
    group = torch.arange(12) % 3 == 0
    profiles = torch.ones(7, 2) / 2
    for aim in (Share(group, 1.0), Varied(torch.rand(12, 3)), Calibrated(genres_of(None, torch.rand(12, 2)), profiles)):
        same = Reranker(aim, 0.0)(found, torch.arange(7), 12)
        assert torch.equal(same.video, found.video)
        assert torch.equal(same.score, found.score)
    short = TopK(torch.tensor([[2.0, -torch.inf]]), torch.tensor([[5, -1]]))
    padded = Reranker(Share(group, 1.0), 1.0)(short, torch.tensor([0]), 3)
    assert padded.video.tolist() == [[5, -1, -1]]
    assert padded.score.tolist() == [[2, -torch.inf, -torch.inf]]


def test_a_groups_share_is_reached_at_the_same_ndcg():
    # each user's targets stand among near-equal scores of the other group: giving way costs little
    users, videos, k = 40, 30, 10
    generator = torch.Generator().manual_seed(1)
    group = torch.arange(videos) % 2 == 0
    target = torch.stack([torch.randperm(videos, generator=generator)[:3] for _ in range(users)])
    scores = torch.rand(users, videos, generator=generator) + 0.5 * ~group
    scores = scores.scatter_add(1, target, torch.full(target.shape, 2.0))
    best = scores.sort(dim=1, descending=True)
    found, everyone = TopK(best.values, best.indices), torch.arange(users)

    class Graph:
        seen = CSR.from_edges(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), (users, videos))
        num_users, num_videos = users, videos

    frame = pl.DataFrame({"user": everyone.repeat_interleave(3).numpy(), "video": target.flatten().numpy()})
    config = EvalConfig(k=(k,), groups=("all",), metrics=(ExposureShare("group", group),))
    gaps, ndcgs = [], []
    for weight in (0.0, 0.2, 0.4, 0.8):
        made = Reranker(Share(group, 0.5), weight)(found, everyone, k)
        judged = evaluate_lists(everyone, made.video, Graph(), frame, config)
        gaps.append(float((judged.per_user["all"]["exposure_group@10"] - 0.5).abs().mean()))
        ndcgs.append(judged["all"]["ndcg@10"])
    assert gaps == sorted(gaps, reverse=True)
    assert ndcgs[:3] == [1, 1, 1]
    assert gaps[2] < 0.85 * gaps[0]  # a sixth of the gap for nothing
    assert gaps[3] < 0.2 * gaps[0]  # and most of it for little
    assert ndcgs[3] > 0.95


def test_quotas_hold_after_a_reranker_chose_the_candidates():
    found = lists(5, 12)
    group = torch.arange(12) < 6
    wide = Reranker(Varied(torch.rand(12, 3)), 0.3)(found, torch.arange(5), 12)

    def best(columns, n):
        member = torch.ones(12, dtype=torch.bool) if columns is None else columns
        scores = torch.full((5, 12), -torch.inf).scatter(1, wide.video, -torch.arange(12.0).expand(5, -1))
        top = scores.masked_fill(~member, -torch.inf).topk(n)
        return TopK(top.values, torch.where(top.values == -torch.inf, -1, top.indices))

    made = Constraint(12, quotas=(Quota(group, 2, 2),)).fill(4, best)
    assert group[made.video].sum(1).tolist() == [2] * 5


def test_calibrated_lists_follow_the_history():
    # genre 0 has the higher scores; the user watched half of each
    genres = genres_of(None, torch.tensor([[1.0, 0]] * 4 + [[0, 1.0]] * 4))
    found = TopK(torch.tensor([[8.0, 7, 6, 5, 4, 3, 2, 1]]), torch.arange(8)[None])
    aim = Calibrated(genres, torch.tensor([[0.5, 0.5]]))
    shares = [int((Reranker(aim, w)(found, torch.tensor([0]), 4).video < 4).sum()) for w in (0.0, 0.2, 1.0)]
    assert shares == [4, 3, 2]
    lone = Calibrated(genres, torch.tensor([[torch.nan, torch.nan]]))
    assert Reranker(lone, 0.9)(found, torch.tensor([0]), 4).video.tolist() == [[0, 1, 2, 3]]


def test_varied_lists_leave_doubles_for_later():
    rows = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    found = TopK(torch.tensor([[3.0, 2.9, 1.0]]), torch.tensor([[0, 1, 2]]))
    assert Reranker(Varied(rows), 0.6)(found, torch.tensor([0]), 3).video.tolist() == [[0, 2, 1]]


def test_calibration_and_discount_in_closed_form():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    want = 0.5 * math.log(0.5 / (0.9 * 1 + 0.1 * 0.5)) + 0.5 * math.log(0.5 / (0.1 * 0.5))
    assert float(calibration_kl(p, q, alpha=0.1)) == pytest.approx(want)
    assert float(calibration_kl(p, p)) == pytest.approx(0)
    assert calibration_kl(p, q * torch.nan).isnan()
    assert discount(3).tolist() == pytest.approx([1, 1 / math.log2(3), 1 / 2])
    with pytest.raises(ValueError, match="alpha"):
        calibration_kl(p, q, alpha=1.0)


def test_genres_are_mixtures_and_profiles_their_mean():
    graph = MultimodalGraph()
    graph["user"].num_nodes, graph["video"].num_nodes, graph["tag"].num_nodes = 2, 3, 2
    graph["video", "belongs_to", "tag"].edge_index = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])
    mixture = genres_of(graph, "tag")
    assert mixture.tolist() == [[1, 0], [0.5, 0.5], [0, 0]]  # an edge twice is one
    seen = CSR.from_edges(torch.tensor([0, 0, 0]), torch.tensor([0, 1, 2]), (2, 3))
    profiles = genre_profiles(seen, mixture)
    assert profiles[0].tolist() == [0.75, 0.25]
    assert profiles[1].isnan().all()
    with pytest.raises(ValueError, match="weights from 0 on"):
        genres_of(None, -torch.ones(2, 2))
    with pytest.raises(ValueError, match="no graph to read"):
        genres_of(None, "tag")
    with pytest.raises(ValueError, match="from 0 to 1"):
        Reranker(Share(torch.ones(1, dtype=torch.bool), 1), 1.5)
    with pytest.raises(ValueError, match="2 users for 7 lists"):
        Reranker(Varied(torch.rand(12, 2)), 0.5)(lists(7, 12), torch.arange(2), 3)
