"""Media made for the tests: pictures, sounds and clips whose content is known."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mmgraph.encoders import HashEncoder


def jpeg(path: Path, seed: int = 0, size: tuple[int, int] = (64, 48)) -> Path:
    """Smooth coloured blobs, another picture for another seed."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(path, quality=92)
    return path


def wav(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """16-bit PCM; samples [S] or [S, channels] in [-1, 1]."""
    samples = np.atleast_2d(samples.T).T
    data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    path.write_bytes(wav_header(len(data), rate, samples.shape[1]) + data)
    return path


def wav_header(size: int, rate: int = 16000, channels: int = 1) -> bytes:
    """The header of a 16-bit WAV that promises ``size`` bytes of samples."""
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)


def tone(frequency: float, seconds: float, rate: int = 16000, level: float = 0.3) -> np.ndarray:
    """A sine."""
    return level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def mp4(path: Path, frames: int = 20, sound: bool = True, size: int = 64, rate: int = 10, gop: int = 12) -> Path:
    """A clip whose frame i is grey of brightness 40 + 160 i / frames, with a 440 Hz tone."""
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"g": str(gop), "crf": "15"})
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=16000) if sound else None
        for index in range(frames):
            pixels = np.full((size, size, 3), 40 + 160 * index // frames, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            samples = tone(440, frames / rate).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def brightness(index: float, frames: int) -> float:
    """Of frame ``index`` in a clip of ``mp4``."""
    return 40 + 160 * index / frames


@dataclass(frozen=True, eq=False)
class Counting(HashEncoder):
    """A hash encoder that counts the media it meets."""

    seen: list[int] = field(default_factory=list)

    def encode(self, items: Sequence[Any]) -> Tensor:
        self.seen.append(len(items))
        return super().encode(items)

    @property
    def count(self) -> int:
        return sum(self.seen)
