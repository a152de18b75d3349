"""Rendering a world's videos into JPEG frames, WAV sound tracks and mp4 files."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mmgraph.data.synthetic.pictures import draw_frame
from mmgraph.data.synthetic.sounds import RATE, play
from mmgraph.data.synthetic.world import World

if TYPE_CHECKING:
    from PIL import Image

Kind = Literal["image", "audio", "video"]
KINDS: tuple[Kind, ...] = ("image", "audio", "video")
SECONDS = 2.0
FRAME_RATE = 8


def render(
    world: World,
    folder: str | Path,
    *,
    kinds: Sequence[Kind] = ("image", "audio"),
    frames: int = 3,
    videos: Sequence[int] | None = None,
    advance: Callable[[], None] | None = None,
) -> Path:
    """Render videos into `folder` in the media-folder layout; the same world gives the same bytes.

    `kinds`: "image" writes video_frames/<id>/<n>.jpg (`frames` of them, evenly in time), "audio"
    video_audio/<id>.wav (2 s, mono, 16 kHz), "video" videos/<id>.mp4 with both streams. What a modality shows is
    `world.shown`; a video that lacks a modality has no such file (and a silent mp4 lacks its audio stream).
    `videos` are the rows to render (None: all). `advance` is called after each video.

    Raises:
        ValueError: an unknown kind, or fewer than one frame.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"unknown kinds {sorted(unknown)}; known: {', '.join(KINDS)}")
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    folder = Path(folder)
    ids = world.videos["video_id"].to_list()
    seen, heard = world.present["visual"], world.present["audio"]
    for video in range(len(ids)) if videos is None else videos:
        if "image" in kinds and seen[video]:
            place = folder / "video_frames" / ids[video]
            place.mkdir(parents=True, exist_ok=True)
            for k in range(frames):
                frame = picture(world, video, k / frames)
                frame.save(place / f"{k}.jpg", quality=88, subsampling=0)
        if "audio" in kinds and heard[video]:
            place = folder / "video_audio"
            place.mkdir(parents=True, exist_ok=True)
            _write_wav(place / f"{ids[video]}.wav", sound_track(world, video))
        if "video" in kinds and seen[video]:
            place = folder / "videos"
            place.mkdir(parents=True, exist_ok=True)
            _write_mp4(world, video, place / f"{ids[video]}.mp4")
        if advance is not None:
            advance()
    return folder


def _seed(world: World, video: int, purpose: int) -> np.random.SeedSequence:
    # From the world's seed and the row, so that videos can be rendered alone and in any order.
    return np.random.SeedSequence([world.config.seed, purpose, video])


def picture(world: World, video: int, moment: float) -> Image.Image:
    """The frame of a video at `moment` in [0, 1) of its length, an RGB picture."""
    shown = world.shown["visual"]
    return draw_frame(int(shown.topic[video]), int(shown.style[video]), _seed(world, video, 1), moment)


def sound_track(world: World, video: int, seconds: float = SECONDS) -> NDArray[np.int16]:
    """The sound track of a video: [seconds * 16000] int16, mono at 16 kHz."""
    return play(int(world.shown["audio"].sound[video]), _seed(world, video, 2), seconds)


def _write_wav(path: Path, track: NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(track.astype("<i2").tobytes())


def _write_mp4(world: World, video: int, path: Path) -> None:
    import av

    # bitexact: no encoder version or date in the file. One thread: the same packets in the same order.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}) as file:
        count = round(SECONDS * FRAME_RATE)
        first = picture(world, video, 0.0)
        pictures = file.add_stream("mpeg4", rate=FRAME_RATE)
        pictures.width, pictures.height = first.size
        pictures.pix_fmt = "yuv420p"
        pictures.codec_context.thread_count = 1
        pictures.codec_context.options = {"flags": "+bitexact", "qscale": "3"}
        pictures.codec_context.bit_rate = 600_000
        sound = None
        if world.present["audio"][video]:
            sound = file.add_stream("aac", rate=RATE, layout="mono")
            sound.codec_context.thread_count = 1
            sound.codec_context.options = {"flags": "+bitexact"}
        for k in range(count):
            frame = av.VideoFrame.from_image(picture(world, video, k / count))
            frame.pts = k
            file.mux(pictures.encode(frame))
        file.mux(pictures.encode(None))
        if sound is not None:
            track = sound_track(world, video)
            for start in range(0, len(track), 1024):
                samples = np.ascontiguousarray(track[None, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                frame.time_base = Fraction(1, RATE)
                file.mux(sound.encode(frame))
            file.mux(sound.encode(None))
