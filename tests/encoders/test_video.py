"""Video encoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmgraph.encoders import HuggingFaceImage, HuggingFaceVideo, VideoFrames, read_frames
from mmgraph.encoders import video as video_module
from tests.encoders.making import brightness, jpeg, mp4


def levels(pictures: list[Image.Image]) -> list[float]:
    return [float(np.asarray(picture).mean()) for picture in pictures]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return mp4(tmp_path_factory.mktemp("clips") / "ramp.mp4", frames=40)


def test_uniform_frames_are_the_middles_of_equal_parts_in_order(clip) -> None:
    expected = [brightness(index, 40) for index in (5, 15, 25, 35)]
    assert levels(read_frames(clip, 4)) == pytest.approx(expected, abs=4)


def test_seeking_in_long_clips_finds_the_same_frames(clip, monkeypatch) -> None:
    whole = levels(read_frames(clip, 5))
    monkeypatch.setattr(video_module, "_DECODE_ALL", 3)
    assert levels(read_frames(clip, 5)) == pytest.approx(whole, abs=5)


def test_keyframes_are_fewer_and_in_order(clip) -> None:
    found = levels(read_frames(clip, 10, "keyframes"))  # one in 12 of 40
    assert found == pytest.approx([brightness(index, 40) for index in (0, 12, 24, 36)], abs=4)
    assert len(read_frames(clip, 2, "keyframes")) == 2


def test_a_clip_of_one_frame_repeats_it(tmp_path) -> None:
    path = mp4(tmp_path / "one.mp4", frames=1)
    assert levels(read_frames(path, 3)) == pytest.approx([40, 40, 40], abs=4)
    assert len(read_frames(path, 3, "keyframes")) == 1


def test_a_container_without_a_length_is_decoded_to_its_end(clip, tmp_path) -> None:
    import av

    path = tmp_path / "stream.mkv"
    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index in range(20):
            pixels = np.full((64, 64, 3), 40 + 8 * index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert levels(read_frames(path, 4)) == pytest.approx([brightness(i, 20) for i in (2, 7, 12, 17)], abs=6)


def test_frame_vectors_are_the_image_encoders_and_stay_apart(clip, tiny_vit, tmp_path) -> None:
    image = HuggingFaceImage(tiny_vit, batch_size=3)
    encoder = VideoFrames(image, num_frames=4)
    one = mp4(tmp_path / "one.mp4", frames=1)
    encoded = encoder([clip, None, one])
    assert encoded.values.shape == (3, 4, 16)
    assert encoded.lengths is not None
    assert encoded.lengths.tolist() == [4, 0, 4]
    with torch.inference_mode():
        expected = image.encode([image.prepare(frame) for frame in read_frames(clip, 4)])
    assert torch.allclose(encoded.values[0], expected, atol=1e-5)
    assert torch.allclose(encoded.values[2, 0], encoded.values[2, 3])


def test_ragged_keyframes_are_padded_and_counted(clip, tiny_vit) -> None:
    encoded = VideoFrames(HuggingFaceImage(tiny_vit), num_frames=6, sampling="keyframes")([clip])
    assert encoded.lengths is not None
    assert encoded.lengths.tolist() == [4]
    assert (encoded.values[0, 4:] == 0).all()
    assert (encoded.values[0, 3] != 0).any()


def test_the_key_holds_the_image_encoders_settings(tiny_vit) -> None:
    keys = {
        VideoFrames(HuggingFaceImage(tiny_vit, pooling), count, sampling).key()
        for pooling in ("mean", "cls")
        for count in (4, 8)
        for sampling in ("uniform", "keyframes")
    }
    assert len(keys) == 8


def test_a_picture_is_a_clip_of_one_frame(tiny_vit, tmp_path) -> None:
    encoded = VideoFrames(HuggingFaceImage(tiny_vit), 2)([jpeg(tmp_path / "a.jpg", 1)])
    assert encoded.present.all()


def test_videomae_sees_its_own_number_of_frames(clip, tmp_path) -> None:
    from transformers import VideoMAEConfig, VideoMAEImageProcessorPil, VideoMAEModel

    torch.manual_seed(0)
    config = VideoMAEConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
    )
    model = VideoMAEModel(config).eval()
    model.save_pretrained(tmp_path)
    processor = VideoMAEImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path)
    encoder = HuggingFaceVideo(tmp_path, label="tiny")
    one = mp4(tmp_path / "one.mp4", frames=1)
    encoded = encoder([clip, one])
    frames = read_frames(clip, 4)
    with torch.inference_mode():
        pixels = processor(frames, return_tensors="pt")["pixel_values"].reshape(1, 4, 3, 32, 32)
        expected = model(pixel_values=pixels).last_hidden_state.mean(1)
    assert torch.allclose(encoded.values[0], expected[0], atol=1e-4)
    assert encoded.present.all()
    assert encoder.settings()["num_frames"] == 4


def test_no_frames_asked_is_an_error(clip) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        read_frames(clip, 0)
