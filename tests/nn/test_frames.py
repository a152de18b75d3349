"""Pooling over frames."""

from __future__ import annotations

import pytest
import torch

from mmgraph.nn.frames import FrameAttention, TemporalConv, mean_over_time


@pytest.fixture(params=["conv", "deep", "attention"])
def layer(request):
    torch.manual_seed(0)
    return {
        "conv": lambda: TemporalConv(6, 4),
        "deep": lambda: TemporalConv(6, 4, (5, 5)),
        "attention": lambda: FrameAttention(6, 4, 3),
    }[request.param]()


def test_it_is_the_3d_convolution_over_time() -> None:
    torch.manual_seed(0)
    layer, frames = TemporalConv(6, 4), torch.randn(2, 9, 6)
    conv = torch.nn.Conv3d(6, 4, kernel_size=(3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
    conv.weight.data = layer.convolutions[0].weight.data[..., None, None]
    conv.bias.data = layer.convolutions[0].bias.data
    maps = torch.relu(conv(frames.transpose(1, 2)[..., None, None]))  # [B, C, T', 1, 1]
    assert maps.shape == (2, 4, 5, 1, 1)
    assert torch.allclose(layer(frames), maps.mean(2).flatten(1), atol=1e-6)


def test_mean_is_over_time_and_not_over_channels() -> None:
    frames = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]]])
    assert mean_over_time(frames).tolist() == [[3, 30]]
    assert mean_over_time(frames, torch.tensor([[True, True, False]])).tolist() == [[2, 20]]
    assert mean_over_time(frames, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0, 0]]


def test_one_video_and_one_frame_keep_their_shape(layer) -> None:
    assert layer(torch.randn(1, 5, 6)).shape == (1, 4)
    assert layer(torch.randn(1, 1, 6)).shape == (1, 4)
    assert layer(torch.randn(3, 1, 6)).shape == (3, 4)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7])
def test_padding_of_any_content_changes_nothing(layer, length) -> None:
    clip = torch.randn(1, length, 6)
    padded = torch.full((2, 8, 6), float("nan"))
    padded[0, :length] = clip[0]
    padded[1] = torch.randn(8, 6)
    mask = torch.arange(8) < torch.tensor([[length], [8]])
    together = layer(padded, mask)
    assert torch.allclose(together[0], layer(clip)[0], atol=1e-6)
    assert torch.allclose(together[1], layer(padded[1:])[0], atol=1e-6)


def test_a_video_without_frames_gives_zeros_and_finite_gradients(layer) -> None:
    frames = torch.randn(2, 4, 6, requires_grad=True)
    mask = torch.tensor([[True] * 4, [False] * 4])
    out = layer(frames, mask)
    assert (out[1] == 0).all()
    assert (out[0] != 0).any()
    out.square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).any()
    assert (frames.grad[1] == 0).all()


def test_order_of_frames_matters_to_convolution_and_not_to_attention() -> None:
    torch.manual_seed(0)
    frames = torch.randn(1, 6, 6)
    conv, attention = TemporalConv(6, 4), FrameAttention(6, 4)
    assert not torch.allclose(conv(frames), conv(frames.flip(1)), atol=1e-3)
    assert torch.allclose(attention(frames), attention(frames.flip(1)), atol=1e-6)


def test_attention_weights_are_a_distribution_over_real_frames() -> None:
    torch.manual_seed(0)
    layer, frames = FrameAttention(6, 4), torch.randn(2, 5, 6)
    mask = torch.tensor([[True, True, True, False, False], [False] * 5])
    weights = layer.weights(frames, mask)
    assert weights.sum(1).tolist() == pytest.approx([1, 0])
    assert (weights[~mask] == 0).all()
    scores = layer.query(torch.tanh(layer.hidden(frames[0, :3]))).squeeze(-1)
    assert torch.allclose(weights[0, :3], scores.softmax(0))
    expected = layer.output((weights[0, :3, None] * frames[0, :3]).sum(0))
    assert torch.allclose(layer(frames, mask)[0], expected, atol=1e-6)


def test_flat_rows_and_wrong_masks_are_refused(layer) -> None:
    with pytest.raises(ValueError, match="unflatten"):
        layer(torch.randn(2, 30))
    with pytest.raises(ValueError, match=r"mask \[B, T\]"):
        layer(torch.randn(2, 5, 6), torch.ones(2, 4, dtype=torch.bool))
