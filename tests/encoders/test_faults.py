"""Media as they are found: each fault becomes a missing modality and a line in the report, nothing else."""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgraph.encoders import (
    Encoder,
    HuggingFaceImage,
    MFCCStatistics,
    VideoFrames,
    encode_folder,
    image,
    read_frames,
    read_image,
    read_sound,
    video,
)
from mmgraph.features import FeatureStore, MediaError
from tests.encoders.making import jpeg, mp4, tone, wav, wav_header


def survive(tmp_path: Path, encoder: Encoder, bad: Path, good: Path, reason: str) -> None:
    """The bad file is listed with its reason and missing; the good ones around it are as if it were not there."""
    encoded, report, _ = FeatureStore(tmp_path / "store").encode(encoder, [good, bad, good])
    assert encoded.present.tolist() == [True, False, True]
    assert [(problem.row, problem.source) for problem in report.problems] == [(1, str(bad))]
    assert reason in report.problems[0].reason
    alone = encoder([good]).values[0]
    assert torch.equal(encoded.values[0], alone)
    assert torch.equal(encoded.values[2], alone)


@pytest.fixture
def picture(tiny_vit) -> HuggingFaceImage:
    return HuggingFaceImage(tiny_vit)


def test_truncated_jpeg(tmp_path, picture) -> None:
    good, bad = jpeg(tmp_path / "good.jpg", 1), jpeg(tmp_path / "bad.jpg", 2, (400, 300))
    bad.write_bytes(bad.read_bytes()[:-2000])
    survive(tmp_path, picture, bad, good, "truncated")


@pytest.mark.parametrize("content", [b"", b"these are words, not a picture\n" * 50, b"\xff\xd8\xff\xe0", bytes(5000)])
def test_non_image_bytes_named_jpg(tmp_path, picture, content) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    survive(tmp_path, picture, bad, jpeg(tmp_path / "good.jpg"), "not a readable image")


def test_zero_byte_wav(tmp_path) -> None:
    bad = tmp_path / "bad.wav"
    bad.touch()
    survive(tmp_path, MFCCStatistics(), bad, wav(tmp_path / "good.wav", tone(300, 1)), "not readable as sound")


def test_mp4_without_sound_is_missing_sound_and_not_missing_pictures(tmp_path, picture) -> None:
    mute, good = mp4(tmp_path / "mute.mp4", sound=False), mp4(tmp_path / "good.mp4")
    survive(tmp_path, MFCCStatistics(), mute, good, "no sound stream")
    assert VideoFrames(picture, 2)([mute]).present.all()


def test_clip_of_one_frame(tmp_path, picture) -> None:
    clip = mp4(tmp_path / "one.mp4", frames=1)
    assert VideoFrames(picture, 4)([clip]).present.all()
    assert MFCCStatistics()([clip]).values.isfinite().all()


def test_truncated_mp4(tmp_path, picture) -> None:
    bad, good = mp4(tmp_path / "bad.mp4", frames=60), mp4(tmp_path / "good.mp4")
    bad.write_bytes(bad.read_bytes()[:3000])
    survive(tmp_path, VideoFrames(picture, 2), bad, good, "not readable as video")


def test_ten_hour_header_on_a_short_file(tmp_path) -> None:
    encoder, hours = MFCCStatistics(), 10 * 3600 * 32000
    (tmp_path / "none.wav").write_bytes(wav_header(hours))
    (tmp_path / "some.wav").write_bytes(wav_header(hours) + bytes(32000))
    encoded = encoder([tmp_path / "none.wav", tmp_path / "some.wav"])
    assert encoded.present.tolist() == [False, True]
    assert encoded.problems[0].reason == "no sound samples"
    assert torch.equal(encoded.values[1], encoder([wav(tmp_path / "s.wav", 0 * tone(1, 1))]).values[0])


def test_ten_hours_of_silence_are_read_for_a_minute_only(tmp_path) -> None:
    hours = 10 * 3600 * 32000
    path = tmp_path / "long.wav"
    path.write_bytes(wav_header(hours))
    os.truncate(path, 44 + hours)  # sparse: no room is taken on the disk
    began = time.perf_counter()
    assert len(read_sound(path)) == 60 * 16000
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("kind", ["absent", "folder", "dangling"])
def test_unreadable_file(tmp_path, picture, kind) -> None:
    bad = tmp_path / "bad.jpg"
    if kind == "folder":
        bad.mkdir()
    elif kind == "dangling":
        bad.symlink_to(tmp_path / "nowhere.jpg")
    survive(tmp_path, picture, bad, jpeg(tmp_path / "good.jpg"), "cannot be read")
    for read in (read_image, read_sound, read_frames):
        with pytest.raises(MediaError, match="cannot be read"):
            read(bad)


def test_a_file_without_permission(tmp_path, picture, monkeypatch) -> None:
    bad, good = jpeg(tmp_path / "bad.jpg", 1), jpeg(tmp_path / "good.jpg", 2)
    real = Path.open

    def refuse(self: Path, *args, **kwargs):
        if self == bad:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)  # a test that runs as root may read everything
    survive(tmp_path, picture, bad, good, "cannot be read: Permission denied")
    monkeypatch.undo()
    assert FeatureStore(tmp_path / "store").encode(picture, [bad]).encoded.present.all()  # tried again


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_crash_no_reader(tmp_path, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise = bytes(torch.randint(0, 256, (3000,), generator=generator).tolist())
    for name, start in (("a.jpg", b"\xff\xd8\xff"), ("a.png", b"\x89PNG\r\n\x1a\n"), ("a.gif", b"GIF89a")):
        (tmp_path / name).write_bytes(start + noise)
        with pytest.raises(MediaError):
            read_image(tmp_path / name)
    for name, start in (("a.mp4", b"\0\0\0\x18ftypmp42"), ("a.mkv", b"\x1aE\xdf\xa3")):
        (tmp_path / name).write_bytes(start + noise)
        for read in (read_frames, read_sound):
            with pytest.raises(MediaError):
                read(tmp_path / name)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's own word, at twice our limit
@pytest.mark.parametrize(("side", "told"), [(13_000, "13000 x 13000 pixels, at most"), (200_000, "more than")])
def test_a_small_file_that_unfolds_to_gigabytes_is_refused_before_it_does(tmp_path, picture, side, told) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    bomb = tmp_path / "bomb.png"
    data = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    survive(tmp_path, picture, bomb, jpeg(tmp_path / "good.jpg"), f"too large: {told} 40,000,000")


def test_a_jpeg_beyond_the_limit_is_decoded_smaller_and_a_clip_refused(tmp_path, monkeypatch) -> None:
    photo = jpeg(tmp_path / "a.jpg", 1, (640, 480))
    whole = np.asarray(read_image(photo)).reshape(-1, 3).mean(0)
    monkeypatch.setattr(image, "MAX_PIXELS", 640 * 480 // 4)
    small = read_image(photo)
    assert small.size == (320, 240)
    assert np.asarray(small).reshape(-1, 3).mean(0) == pytest.approx(whole, abs=2)
    monkeypatch.setattr(image, "MAX_PIXELS", 1000)
    with pytest.raises(MediaError, match=r"too large: 64 x 64 pixels, at most 1,000 are read"):
        read_frames(mp4(tmp_path / "a.mp4"))
    monkeypatch.undo()
    monkeypatch.setattr(video, "_ALL_PIXELS", 4 * 32 * 32)
    assert {frame.size for frame in read_frames(tmp_path / "a.mp4", 4)} == {(32, 32)}


def test_nothing_a_file_says_is_run_or_fetched(tmp_path) -> None:
    mp4(tmp_path / "a.mp4")
    lists = {
        "concat.mp4": f"ffconcat version 1.0\nfile {tmp_path}/a.mp4\n",
        "playlist.mp4": f"#EXTM3U\n#EXTINF:2,\n{tmp_path}/a.mp4\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        for read in (read_frames, read_sound):
            with pytest.raises(MediaError):
                read(tmp_path / name)
    (tmp_path / "program.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(MediaError, match="not a readable image"):
        read_image(tmp_path / "program.jpg")


def test_pictures_of_every_ending_are_read_and_others_are_named(tmp_path) -> None:
    endings = ("jpg", "png", "webp", "gif", "bmp", "tif")
    for number, ending in enumerate(endings):
        (tmp_path / "video_frames" / str(number)).mkdir(parents=True)
        picture = read_image(jpeg(tmp_path / "a.jpg", number))
        picture.save(tmp_path / "video_frames" / str(number) / f"0.{ending.upper()}")
    (tmp_path / "video_frames" / "0" / "1.heic").write_bytes(b"")
    (tmp_path / "video_frames" / "0" / "notes.txt").write_text("")
    lines = "".join(f"u,{number}\n" for number in range(len(endings)))
    (tmp_path / "interactions.csv").write_text("user_id,video_id\n" + lines)
    (tmp_path / "videos.csv").write_text("video_id\n" + "".join(f"{number}\n" for number in range(len(endings))))
    summary = encode_folder(tmp_path, image="hash", progress=False)
    assert summary.reports["visual"].present == len(endings)
    assert [note for note in summary.notes if note.startswith("not read")] == [
        "not read: a.jpg",
        "not read: video_frames/0/1.heic",
        "not read: video_frames/0/notes.txt",
    ]
    assert "1.heic" in summary.text()
