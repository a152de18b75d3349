"""Pooling over frames, alone and inside a model."""

from __future__ import annotations

import pytest
import torch

from mmgraph.models import HeteroMMGCN
from mmgraph.nn import TemporalConv
from tests.worlds import twelve_nodes


def test_it_is_the_3d_convolution_over_time() -> None:
    torch.manual_seed(0)
    layer, frames = TemporalConv(9, 54, 4), torch.randn(2, 9, 6)
    conv = torch.nn.Conv3d(6, 4, kernel_size=(3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
    conv.weight.data = layer.convolutions[0].weight.data[..., None, None]
    conv.bias.data = layer.convolutions[0].bias.data
    maps = torch.relu(conv(frames.transpose(1, 2)[..., None, None]))  # [B, C, T', 1, 1]
    assert maps.shape == (2, 4, 5, 1, 1)
    assert torch.allclose(layer(frames.flatten(1)), maps.mean(2).flatten(1), atol=1e-6)


def test_the_mean_is_over_time_and_not_over_channels() -> None:
    layer = TemporalConv(3, 6, 2)
    conv = layer.convolutions[0]
    conv.weight.data.zero_()
    conv.bias.data.zero_()
    conv.weight.data[:, :, 1] = torch.eye(2)  # takes frames 0 and 2 as they are
    frames = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]]])
    assert layer(frames.flatten(1)).tolist() == [[3, 30]]


@pytest.mark.parametrize("hidden", [(), (5, 5)])
@pytest.mark.parametrize(("batch", "frames"), [(1, 5), (1, 1), (3, 1), (2, 8)])
def test_one_video_and_one_frame_keep_their_shape(batch, frames, hidden) -> None:
    torch.manual_seed(0)
    layer, rows = TemporalConv(frames, frames * 6, 4, hidden), torch.randn(batch, frames * 6)
    assert layer(rows).shape == (batch, 4)
    assert torch.allclose(layer(rows)[-1:], layer(rows[-1:]), atol=1e-6)


def test_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    frames, layer = torch.randn(1, 6, 6), TemporalConv(6, 36, 4)
    assert not torch.allclose(layer(frames.flatten(1)), layer(frames.flip(1).flatten(1)), atol=1e-3)


@pytest.mark.parametrize("frames", [4, 0, -1, True, 2.5, None])
def test_rows_that_hold_no_whole_frames_are_refused(frames) -> None:
    with pytest.raises(ValueError, match="frames must be a number of frame vectors that a row of 6 holds"):
        TemporalConv(frames, 6, 4)


def framed(frames: torch.Tensor):
    """The twelve nodes, whose visual nodes have frames [n, T, D]."""
    graph = twelve_nodes()
    graph["visual"].x = frames.flatten(1)
    return graph


def test_a_model_reads_frames_in_their_order_and_trains_the_layer() -> None:
    torch.manual_seed(0)
    frames = torch.randn(len(twelve_nodes()["visual"].x), 4, 3)
    graph, turned = framed(frames), framed(frames.flip(1))
    model = HeteroMMGCN(graph, embedding_dim=8, frames={"visual": 4})
    plain = HeteroMMGCN(graph, embedding_dim=8)
    assert model.project["visual"].convolutions[0].weight.shape == (8, 3, 3)
    assert plain.project["visual"].weight.shape == (8, 12)
    out = model.encode(graph)
    assert not torch.allclose(out.video, model.encode(turned).video, atol=1e-4)
    out.video.square().sum().backward()
    assert all(bool((p.grad != 0).any()) for p in model.project["visual"].parameters())


def test_frames_of_a_modality_that_is_not_read_are_refused() -> None:
    with pytest.raises(ValueError, match="frames of \\['smell'\\]"):
        HeteroMMGCN(twelve_nodes(), frames={"smell": 2})
