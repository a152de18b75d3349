"""VBPR against the same maths written out."""

from __future__ import annotations

import pytest
import torch

from mmgraph.graph.samplers import PairBatch
from mmgraph.models import VBPR, Rows
from tests.worlds import twelve_nodes


def filled(graph, **arguments) -> VBPR:
    torch.manual_seed(3)
    model = VBPR(graph, embedding_dim=4, **arguments)
    torch.nn.init.normal_(model.bias)  # zero at the start, so a formula without it would pass
    return model


def test_scores_are_the_papers_formula():
    graph = twelve_nodes()
    model = filled(graph)
    scores = model.score(model.encode(graph), torch.arange(5))
    f = torch.cat([graph.features(m).values for m in graph.modalities], 1)
    both = torch.cat([model.project[m].weight for m in graph.modalities], 1)
    e, beta = both[:-1], both[-1]
    gamma, theta = model.user[:, :4], model.user[:, 4:]
    for u in range(5):
        for v in range(7):
            expected = gamma[u] @ model.video[v] + theta[u] @ (e @ f[v]) + model.bias[v, 0] + beta @ f[v]
            torch.testing.assert_close(scores[u, v], expected, atol=1e-6, rtol=1e-5)


def test_a_video_without_content_scores_by_its_id_alone():
    graph = twelve_nodes()
    model = filled(graph, modalities=["visual"])  # video 2 has no picture
    expected = model.user[:, :4] @ model.video[2] + model.bias[2]
    torch.testing.assert_close(model.score(model.encode(graph), torch.arange(5))[:, 2], expected)


def test_only_the_features_of_the_asked_videos_are_read():
    """A row of NaN elsewhere in the catalogue leaves the values and all gradients finite."""
    graph = twelve_nodes()
    model = filled(graph)
    graph.features("visual").values[0] = torch.nan
    emb = model.encode(graph, Rows(torch.tensor([1]), torch.tensor([3, 1])))
    emb.video.square().sum().backward()
    assert torch.isfinite(emb.video).all()
    assert torch.isfinite(model.project["visual"].weight.grad).all()
    assert not torch.isfinite(model.encode(graph).video).all()
    batch = PairBatch(torch.tensor([1]), torch.tensor([3]), torch.tensor([[1]]))
    assert torch.isfinite(torch.stack(list(model.loss(graph, batch).values()))).all()


@pytest.mark.parametrize("negative", [[[6], [4], [2]], [[6, 2], [4, 5], [0, 4]]])
def test_loss_is_log_sigmoid_of_differences_plus_l2_of_the_rows_read(negative):
    """With one negative a pair the differences are projected, with more the videos: the same numbers and gradients."""
    graph = twelve_nodes()
    model = filled(graph, l2=0.5)
    batch = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([1, 3, 2]), torch.tensor(negative))
    user, video = model.encode(graph)
    scores = user @ video.T
    at = [(u, i, j) for u, i, line in zip(*(t.tolist() for t in batch), strict=True) for j in line]
    bpr = -torch.stack([torch.log(torch.sigmoid(scores[u, i] - scores[u, j])) for u, i, j in at]).mean()
    videos = torch.cat([batch.positive, batch.negative.flatten()]).unique()
    read = [model.user[[0, 1]], model.video[videos], model.bias[videos]]
    l2 = 0.5 * sum(r.square().sum() for r in read) / 2 / 3
    terms = model.loss(graph, batch)
    torch.testing.assert_close(terms, {"bpr": bpr, "l2": l2})
    expected = torch.autograd.grad(bpr + l2, list(model.parameters()))
    found = torch.autograd.grad(sum(terms.values()), list(model.parameters()))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_graph_without_the_modality_is_refused():
    with pytest.raises(ValueError, match="smell"):
        VBPR(twelve_nodes(), modalities=["smell"])
