"""Media as players and viewers show them: turned, in their colours, at their times, whatever the layout."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from mmgraph.encoders import EfficientNetLite0, MFCCStatistics, VideoFrames, read_frames, read_image, read_sound
from mmgraph.encoders import video as video_module
from tests.encoders.making import brightness, mp4, tone, wav

ONE = 1 << 16
RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 200, 20), (20, 20, 220), (235, 235, 235)


def quarters() -> np.ndarray:
    """64 x 48: red and green above, blue and white below."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32], pixels[:24, 32:], pixels[24:, :32], pixels[24:, 32:] = RED, GREEN, BLUE, WHITE
    return pixels


def clip(path: Path, pixels: np.ndarray, matrix: tuple[int, int, int, int] | None = None, **stream) -> Path:
    """Six frames of one picture, with a display matrix (a, b, c, d) written into its track header."""
    import av

    with av.open(str(path), "w") as out:
        video = out.add_stream(stream.pop("codec", "mpeg4"), rate=6)
        video.height, video.width = pixels.shape[:2]
        video.pix_fmt = "yuv420p"
        for name, value in stream.items():
            setattr(video.codec_context, name, value)
        for _ in range(6):
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode())
    if matrix is not None:
        data = bytearray(path.read_bytes())
        at = data.find(b"tkhd") + 4
        at += 4 + (20 if data[at] == 0 else 32) + 16
        a, b, c, d = (value * ONE for value in matrix)
        data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data)
    return path


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """The named colour next to each corner's: left and right above, left and right below."""
    width, height = picture.size
    places = [(width // 5, height // 5), (4 * width // 5, height // 5)]
    places += [(x, 4 * height // 5) for x, _ in places]
    seen = [np.array(picture.getpixel(place), dtype=int) for place in places]
    named = (RED, GREEN, BLUE, WHITE)
    return [min(named, key=lambda colour: np.abs(value - colour).sum()) for value in seen]


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), [RED, GREEN, BLUE, WHITE]),
        ((0, 1, -1, 0), [BLUE, RED, WHITE, GREEN]),  # a quarter to the right: a telephone held upright
        ((-1, 0, 0, -1), [WHITE, BLUE, GREEN, RED]),
        ((0, -1, 1, 0), [GREEN, WHITE, RED, BLUE]),
        ((-1, 0, 0, 1), [GREEN, RED, WHITE, BLUE]),  # mirrored: a camera towards oneself
        ((1, 0, 0, -1), [BLUE, WHITE, RED, GREEN]),
        ((0, 1, 1, 0), [RED, BLUE, GREEN, WHITE]),
        ((0, -1, -1, 0), [WHITE, GREEN, BLUE, RED]),
    ],
)
def test_clips_are_turned_and_mirrored_as_they_say(tmp_path, matrix, shown) -> None:
    picture = read_frames(clip(tmp_path / "a.mp4", quarters(), matrix), 1)[0]
    assert picture.size == ((64, 48) if matrix[0] else (48, 64))
    assert corners(picture) == shown


def test_a_clip_filmed_upright_is_near_its_upright_twin(tmp_path, efficientnet) -> None:
    halves = np.zeros((48, 64, 3), np.uint8)
    halves[:, :32], halves[:, 32:] = RED, GREEN
    turned = clip(tmp_path / "turned.mp4", halves, (0, 1, -1, 0))
    twin = clip(tmp_path / "twin.mp4", np.ascontiguousarray(np.rot90(halves, -1)))
    lying = clip(tmp_path / "lying.mp4", halves)
    unit = torch.nn.functional.normalize(VideoFrames(efficientnet, 2)([turned, twin, lying]).values.mean(1), dim=1)
    assert unit[0] @ unit[1] > 0.95 > unit[0] @ unit[2]
    assert EfficientNetLite0.version == "2"  # rows of lying pictures are not found again


def test_pixels_that_are_not_square_are_stretched(tmp_path) -> None:
    path = clip(tmp_path / "a.mp4", quarters(), sample_aspect_ratio=Fraction(2, 1))
    assert read_frames(path, 1)[0].size == (128, 48)


@pytest.mark.parametrize("lines", [64, 720])
def test_colours_are_those_the_clip_names_or_players_assume(tmp_path, lines) -> None:
    import av
    from av.video.reformatter import Colorspace

    red = np.full((lines, 64, 3), RED, np.uint8)
    for name, tag, matrix in (
        ("named", 1, Colorspace.ITU709),
        ("unnamed", 2, Colorspace.ITU709 if lines >= 720 else Colorspace.ITU601),
    ):
        with av.open(str(tmp_path / f"{name}.mkv"), "w") as out:
            video = out.add_stream("libx264", rate=2, options={"crf": "1"})
            video.width, video.height, video.pix_fmt = 64, lines, "yuv420p"
            video.codec_context.colorspace = tag
            for _ in range(2):
                frame = av.VideoFrame.from_ndarray(red, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace=matrix)
                frame.colorspace = tag
                out.mux(video.encode(frame))
            out.mux(video.encode())
        seen = np.asarray(read_frames(tmp_path / f"{name}.mkv", 1)[0]).reshape(-1, 3).mean(0)
        assert seen == pytest.approx(RED, abs=4), name


def test_frames_are_those_shown_at_the_middles_of_the_time_however_uneven(tmp_path, monkeypatch) -> None:
    import av

    path = tmp_path / "uneven.mp4"
    times = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 40, 70, 100]  # a burst in a tenth of the time
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"g": "4"})
        video.width = video.height = 64
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 10)
        video.codec_context.time_base = Fraction(1, 10)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + 15 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            out.mux(video.encode(frame))
        out.mux(video.encode())
    # of 101 tenths (the last frame's share is unknown) the middles of four parts lie at 12, 37, 62, 88
    expected = [20 + 15 * index for index in (10, 10, 11, 12)]
    for limit in (450, 3):  # decoding all, and seeking
        monkeypatch.setattr(video_module, "_DECODE_ALL", limit)
        found = [float(np.asarray(picture).mean()) for picture in read_frames(path, 4)]
        assert found == pytest.approx(expected, abs=4)


def test_a_spoilt_packet_costs_its_frames_and_is_said(tmp_path, tiny_vit) -> None:
    import av

    from mmgraph.encoders import HuggingFaceImage

    path = mp4(tmp_path / "a.mp4", sound=False, gop=1)
    with av.open(str(path)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0)][10]
    data = bytearray(path.read_bytes())
    data[place : place + size] = bytes(size)
    path.write_bytes(data)
    encoded = VideoFrames(HuggingFaceImage(tiny_vit), 4)([path])
    assert encoded.present.all()
    assert encoded.problems == ()
    assert "packets could not be decoded" in encoded.partial[0].reason
    with pytest.warns(UserWarning, match="1 of 18 packets could not be decoded"):
        found = [float(np.asarray(picture).mean()) for picture in read_frames(path, 4)]
    assert found == pytest.approx([brightness(index, 20) for index in (2, 7, 12, 17)], abs=4)
    with pytest.warns(UserWarning, match="could not be decoded"):
        assert np.asarray(read_frames(path, 1)[0]).mean() == pytest.approx(brightness(9, 20), abs=4)  # for the tenth


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "16-bit TIFF"])
def test_sixteen_bits_a_channel_become_eight(tmp_path, mode) -> None:
    ramp = np.linspace(0, 65535, 256).reshape(16, 16)
    path = tmp_path / "a.tif"
    if mode == "F":
        Image.fromarray((ramp / 65535).astype(np.float32)).save(path)
    elif mode == "I":
        Image.fromarray(ramp.astype(np.int32)).save(path)
    else:
        path = path if mode == "16-bit TIFF" else tmp_path / "a.png"
        Image.fromarray(ramp.astype(np.uint16)).save(path)
    assert np.asarray(read_image(path))[:, :, 0] == pytest.approx(ramp / 257, abs=1)


def test_what_is_transparent_is_shown_over_white(tmp_path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255  # black above, hidden black below
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    Image.fromarray(pixels).quantize(4).save(tmp_path / "palette.png", transparency=1)
    Image.new("L", (2, 2), 7).save(tmp_path / "key.png", transparency=7)
    assert np.asarray(read_image(tmp_path / "rgba.png"))[:, 0, 0].tolist() == [0, 0, 255, 255]
    assert np.asarray(read_image(tmp_path / "key.png")).min() == 255
    assert sorted(set(np.asarray(read_image(tmp_path / "palette.png")).reshape(-1).tolist())) == [0, 255]


def test_colour_profiles_and_gammas_are_converted(tmp_path) -> None:
    grey = Image.new("RGB", (4, 4), (60, 60, 60))
    grey.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    xyz = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert read_image(tmp_path / "srgb.png").getpixel((0, 0)) == (60, 60, 60)
    grey.save(tmp_path / "broken.png", icc_profile=xyz[:50])
    assert read_image(tmp_path / "broken.png").getpixel((0, 0)) == (60, 60, 60)
    linear = PngImagePlugin.PngInfo()
    linear.add(b"gAMA", struct.pack(">I", 100_000))
    grey.save(tmp_path / "linear.png", pnginfo=linear)
    expected = round(255 * (60 / 255) ** (1 / 2.2))
    assert read_image(tmp_path / "linear.png").getpixel((0, 0)) == (expected,) * 3


def wide_wav(path: Path, samples: np.ndarray, mask: int) -> Path:
    """16-bit WAV of several channels [S, C] that says where they stand (mask 0: nowhere)."""
    count = samples.shape[1]
    data = (samples * 32767).astype("<i2").tobytes()
    form = struct.pack("<IHHIIHHHHI", 40, 0xFFFE, count, 16000, 32000 * count, 2 * count, 16, 22, 16, mask)
    form += bytes.fromhex("0100000000001000800000aa00389b71")
    size = struct.pack("<I", 20 + len(form) + len(data))
    path.write_bytes(b"RIFF" + size + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data)
    return path


def test_one_sound_in_any_layout_is_one_sound(tmp_path) -> None:
    sound = tone(440, 1)
    mono = read_sound(wav(tmp_path / "mono.wav", sound))
    stereo = read_sound(wav(tmp_path / "stereo.wav", np.stack([sound, sound], 1)))
    assert np.abs(stereo - mono).max() < 1e-4
    for count, mask in ((6, 0x3F), (6, 0), (3, 0), (9, 0), (2, 0)):
        found = read_sound(wide_wav(tmp_path / "wide.wav", np.stack([sound] * count, 1), mask))
        assert np.abs(found - mono).max() < 1e-4, (count, mask)
    bass = np.stack([sound] * 3 + [np.ones_like(sound)] + [sound] * 2, 1)  # the fourth of 5.1 is for the bass only
    assert np.abs(read_sound(wide_wav(tmp_path / "bass.wav", bass, 0x3F)) - mono).max() < 1e-4


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> bytes:
    import soundfile

    path = tmp_path_factory.mktemp("song") / "plain.mp3"
    soundfile.write(path, tone(440, 1, level=0.5), 16000)
    return path.read_bytes()


def test_what_lies_behind_the_last_frame_of_an_mp3_takes_nothing_away(tmp_path, song) -> None:
    lyrics = b"LYRICSBEGININD00003110LYR00028la la la, words of our own" + b"000065LYRICS200"
    paths = [tmp_path / f"{name}.mp3" for name in ("plain", "padded", "lyrics")]
    for path, tail in zip(paths, (b"", bytes(400), lyrics), strict=True):
        path.write_bytes(song + tail)
    plain = read_sound(paths[0])
    assert len(plain) == 16000
    for path in paths[1:]:
        with pytest.warns(UserWarning, match="follows the last frame"):
            assert np.array_equal(read_sound(path), plain)
    encoded = MFCCStatistics()(paths)
    assert encoded.values[0].equal(encoded.values[1])
    assert [part.row for part in encoded.partial] == [1, 2]


def test_bytes_spoilt_in_the_middle_cost_a_packet(tmp_path, song) -> None:
    spoilt = bytearray(song)
    spoilt[len(song) // 2 : len(song) // 2 + 24] = bytes(range(7, 31))
    path = tmp_path / "spoilt.mp3"
    path.write_bytes(spoilt)
    with pytest.warns(UserWarning, match=r"1 of \d+ packets could not be decoded"):
        assert 12_000 <= len(read_sound(path)) < 16_000
