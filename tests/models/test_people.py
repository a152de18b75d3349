"""People and videos that came after training; entity nodes."""

from __future__ import annotations

import pytest
import torch

from mmgraph.models import (
    BPRMF,
    DSSM,
    EASE,
    FREEDOM,
    HeteroMMGCN,
    LightGCN,
    People,
    Rows,
    chosen_modalities,
    pad_rows,
    profile_rows,
    warm_videos,
)
from mmgraph.ops import CSR
from mmgraph.testing import alike, make_graph, twelve_nodes
from mmgraph.train import FitConfig, fit


def test_rows_read_tables_whole_or_in_part():
    graph, user, video = twelve_nodes(), torch.arange(10.0).view(5, 2), torch.arange(14.0).view(7, 2)
    assert Rows().stacked(graph) is None
    assert Rows().of(user, video).video is video
    part = Rows(torch.tensor([4, 0]), None)
    assert part.stacked(graph).tolist() == [4, 0, 5, 6, 7, 8, 9, 10, 11]
    stacked = torch.cat([user, video])[part.stacked(graph)]
    assert torch.equal(part.split(graph, stacked).user, user[[4, 0]])
    assert torch.equal(part.split(graph, stacked).video, video)


def test_small_things():
    graph = twelve_nodes()
    assert warm_videos(graph).tolist() == [True] * 6 + [False]
    assert pad_rows(torch.ones(2, 3), 4).sum(1).tolist() == [3, 3, 0, 0]
    assert chosen_modalities(graph, None) == ["visual", "audio"]
    with pytest.raises(ValueError, match=r"modalities \['smell'\] asked for"):
        chosen_modalities(graph, ["smell"])


def children_and_adults():
    """24 people: children (profile 1, 0) watch videos 0 to 4, adults (0, 1) videos 5 to 9; two more without a click."""
    child = torch.arange(12)
    user = torch.cat([child.repeat_interleave(4), (12 + child).repeat_interleave(4)])
    generator = torch.Generator().manual_seed(0)
    picks = torch.stack([torch.randperm(5, generator=generator)[:4] for _ in range(24)])
    video = torch.cat([picks[:12].flatten(), picks[12:].flatten() + 5])
    graph = make_graph(user, video, 26, 10, {"visual": torch.ones(10, dtype=torch.bool)})
    profile = torch.tensor([[1.0, 0.0]]).repeat(26, 1)
    profile[12:24] = profile[25] = torch.tensor([0.0, 1.0])
    graph["user"].x = profile
    return graph


@pytest.mark.parametrize("cls", [BPRMF, LightGCN, EASE, DSSM])
def test_a_person_of_whom_only_a_profile_is_known_gets_what_people_like_them_watch(cls):
    graph = children_and_adults()
    torch.manual_seed(0)
    model = cls(graph)
    fit(model, graph, config=FitConfig(epochs=40, batch_size=32, learning_rate=0.02), seed=0)
    emb = model.fold_in(graph, People(features=graph["user"].x[24:]))
    scores = model.score(emb, torch.arange(2)).detach()
    assert scores[0, :5].mean() > scores[0, 5:].mean()
    assert scores[1, 5:].mean() > scores[1, :5].mean()
    if cls is not DSSM:  # whose towers learn ids too, which a new person has not
        best = scores.topk(5).indices
        assert (best[0] < 5).sum() >= 4  # chance: 2.5
        assert (best[1] >= 5).sum() >= 4


def test_profiles_are_mapped_by_ridge_regression_from_the_users_with_a_click():
    graph = children_and_adults()
    user = torch.randn(26, 3, generator=torch.Generator().manual_seed(1))
    x = torch.cat([graph["user"].x[:24], torch.ones(24, 1)], 1)
    weight = torch.linalg.solve(x.T @ x + 0.5 * torch.eye(3), x.T @ user[:24])
    new = torch.tensor([[0.3, 0.7]])
    torch.testing.assert_close(profile_rows(graph, user, new, reg=0.5), torch.tensor([[0.3, 0.7, 1.0]]) @ weight)
    with pytest.raises(ValueError, match=r"profiles must be \[n, 2\]"):
        profile_rows(graph, user, torch.ones(1, 3))
    with pytest.raises(ValueError, match="users have none"):
        profile_rows(twelve_nodes(), torch.ones(5, 2), new)


def test_clicks_come_before_a_profile():
    graph = children_and_adults()
    torch.manual_seed(0)
    model = BPRMF(graph, embedding_dim=4)
    clicks = CSR.from_edges(torch.tensor([0]), torch.tensor([7]), (2, 10))
    both = model.fold_in(graph, People(clicks, features=graph["user"].x[24:]))
    torch.testing.assert_close(both.user[0], model.fold_in(graph, People(clicks)).user[0])
    torch.testing.assert_close(both.user[1], model.fold_in(graph, People(features=graph["user"].x[24:])).user[1])


def tagged(shuffle: bool):
    """Users like one tag each; videos 16 to 19 are new, known by their tag alone."""
    generator = torch.Generator().manual_seed(0)
    user = torch.arange(40).repeat_interleave(3)
    choices = torch.stack([torch.randperm(4, generator=generator)[:3] for _ in range(40)]) * 4
    video = (choices + (torch.arange(40) % 4).unsqueeze(1)).flatten()  # video v has tag v % 4, user u likes tag u % 4
    graph = make_graph(user, video, 40, 20, {"visual": torch.arange(20) < 16})
    graph["tag"].num_nodes = 4
    tag = torch.arange(20) % 4
    if shuffle:
        tag = tag[torch.randperm(20, generator=generator)]
    edges = torch.stack([torch.arange(20), tag])
    graph["video", "belongs_to", "tag"].edge_index = edges
    graph["tag", "rev_belongs_to", "video"].edge_index = edges.flip(0)
    return alike(graph)


READS_TAGS = {
    LightGCN: {"edge_types": ("interacts", ("video", "belongs_to", "tag"))},
    FREEDOM: {"edge_types": ("interacts", ("video", "belongs_to", "tag")), "content": 0.0},
    HeteroMMGCN: {"entities": ("tag",), "align": 0.0},
}


@pytest.mark.parametrize("cls", READS_TAGS)
def test_tags_reach_new_videos_and_shuffled_tags_do_not(cls):
    """The new video of each user's tag comes first among the new ones, if the tags are the right ones."""
    right = {}
    for shuffle in (False, True):
        graph = tagged(shuffle)
        torch.manual_seed(0)
        model = cls(graph, embedding_dim=16, **READS_TAGS[cls])
        fit(model, graph, config=FitConfig(epochs=40, batch_size=64, learning_rate=0.02), seed=0)
        with torch.no_grad():
            emb = model.encode(graph)
            best = model.score(emb, torch.arange(40))[:, 16:].argmax(1)
        right[shuffle] = float((best == torch.arange(40) % 4).float().mean())
    assert right[False] >= 0.85
    assert right[True] <= 0.6
