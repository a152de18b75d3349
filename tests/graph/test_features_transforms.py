"""Features taken away, dealt, blurred and filled: what changes, and what does not."""

from __future__ import annotations

import pytest
import torch

from mmgraph.graph import FilledFeatures, MissingFeatures, NoisyFeatures, ShuffledFeatures, WithoutModalities
from mmgraph.models import VBPR
from mmgraph.testing import checkerboard, make_graph, twelve_nodes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_a_modality_no_video_has_it_and_a_trained_model_still_fits():
    graph = twelve_nodes()
    model = VBPR(graph, embedding_dim=4)
    gone = WithoutModalities(("audio",))(graph)
    assert gone.modalities == graph.modalities
    assert not gone.features("audio").present.any()
    assert torch.equal(gone.features("visual").values, graph.features("visual").values)
    assert gone.features("audio").values.shape == (7, 3)
    assert torch.isfinite(model.encode(gone).video).all()
    assert graph.features("audio").present.sum() == 6, "the graph that was given is as it was"
    with pytest.raises(KeyError, match="no modality 'smell'"):
        WithoutModalities(("smell",))(graph)
    with pytest.raises(TypeError, match="names in a tuple"):
        WithoutModalities("audio")(graph)  # type: ignore[arg-type]


def test_shuffled_features_are_the_same_rows_at_other_videos_that_have_the_modality():
    graph = checkerboard()
    out = ShuffledFeatures(("audio",))(graph, seeded())
    before, after = graph.features("audio"), out.features("audio")
    assert torch.equal(before.present, after.present)
    assert not torch.equal(before.values, after.values)
    assert torch.equal(before.values.sort(0).values, after.values.sort(0).values)
    assert torch.equal(out.features("visual").values, graph.features("visual").values)
    assert torch.equal(ShuffledFeatures(("audio",))(graph, seeded()).features("audio").values, after.values)


def test_noise_has_the_asked_share_of_each_columns_deviation():
    everything = torch.ones(4000, dtype=torch.bool)
    graph = make_graph(torch.tensor([0]), torch.tensor([0]), 1, 4000, {"visual": everything})
    graph["visual"].x = graph["visual"].x * torch.tensor([1.0, 10.0, 0.0, 2.0, 3.0])
    noise = NoisyFeatures(("visual",), 0.5)(graph, seeded())["visual"].x - graph["visual"].x
    torch.testing.assert_close(noise.std(0), 0.5 * graph["visual"].x.std(0), rtol=0.1, atol=0)
    assert torch.equal(NoisyFeatures(("visual",), 0.0)(graph, seeded())["visual"].x, graph["visual"].x)
    with pytest.raises(ValueError, match="scale=-1"):
        NoisyFeatures(("visual",), -1.0)


@pytest.mark.parametrize("how", ["random", "unpopular", "value"])
def test_missing_videos_are_counted_and_those_missing_early_stay_missing(how):
    graph = checkerboard()
    gone = [~MissingFeatures(r, how)(graph, seeded()).features("visual").present for r in (0.0, 0.25, 0.5, 1.0)]
    assert [int(each.sum()) for each in gone] == [0, 6, 12, 24]
    assert bool((gone[1] <= gone[2]).all())
    kept = MissingFeatures(0.5, how)(graph, seeded()).features("visual")
    assert torch.equal(kept.values[kept.present], graph.features("visual").values[kept.present])


def test_unpopular_videos_lose_it_first_and_the_value_decides_where_it_is_not_at_random():
    popularity = torch.tensor([3, 1, 2, 0, 5, 4])
    video = torch.repeat_interleave(torch.arange(6), popularity)
    user = torch.cat([torch.arange(int(n)) for n in popularity])
    graph = make_graph(user, video, 5, 6, {"audio": torch.tensor([True, True, True, True, True, False])})
    left = MissingFeatures(0.6, "unpopular")(graph, seeded()).features("audio").present
    assert left.tolist() == [True, False, False, False, True, False], "of five the three least popular"
    graph["audio"].x = torch.tensor([[4.0, 1, 0], [1, 1, 0], [3, 1, 0], [0, 1, 0], [2, 1, 0]])
    left = MissingFeatures(0.4, "value")(graph, seeded()).features("audio").present
    assert left.tolist() == [False, True, False, True, True, False], "the highest on the only axis there is"
    with pytest.raises(ValueError, match="how='rare'"):
        MissingFeatures(0.5, "rare")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate=2"):
        MissingFeatures(2)


def test_filled_features_leave_no_video_without():
    graph = twelve_nodes()
    zeros, means = FilledFeatures()(graph).features("visual"), FilledFeatures("mean")(graph).features("visual")
    was = graph.features("visual")
    assert bool(zeros.present.all())
    assert not zeros.values[2].any()
    torch.testing.assert_close(means.values[2], was.values[was.present].mean(0))
    assert torch.equal(zeros.values, was.values)
    with pytest.raises(ValueError, match="by='noise'"):
        FilledFeatures("noise")  # type: ignore[arg-type]
