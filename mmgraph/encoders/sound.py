"""Decoding the sound of a file, audio or video, with PyAV: mono, one sampling rate, a bounded read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmgraph.encoders.container import Packets, open_container
from mmgraph.features.encoded import MediaError


def read_sound(media: Any, sampling_rate: int = 16000, max_seconds: float = 60.0) -> np.ndarray:
    """The first ``max_seconds`` of a file's sound as mono float32 in about [-1, 1].

    Works on WAV, MP3, AAC, … and on the sound of an mp4. What the header says of the length is not believed:
    reading stops at ``max_seconds`` of samples or at the end of the file. What cannot be decoded is left out, with a
    warning: tags and padding after the last frame, a spoilt packet, an end that is missing.

    Raises:
        MediaError: no sound stream, no samples, corrupt or unreadable.
    """
    samples, lost = sound_and_losses(media, sampling_rate, max_seconds)
    if lost:
        warnings.warn(f"{media}: {lost}", stacklevel=2)
    return samples


def sound_and_losses(media: Any, sampling_rate: int, max_seconds: float) -> tuple[np.ndarray, str]:
    """As :func:`read_sound`, and what could not be decoded in words (empty where all could)."""
    limit = max(1, int(max_seconds * sampling_rate))
    samples, packets = _decoded(media, sampling_rate, limit, None)
    lost = packets.said()
    if packets.tail and packets.good and len(samples) < limit:
        # Something lies behind the last frame. Without it the encoder's own padding at the end is cut as well.
        samples, again = _decoded(media, sampling_rate, limit, packets.tail)
        lost = again.said() or "what follows the last frame is no sound and was left out"
    if not np.isfinite(samples).all():
        raise MediaError("sound samples are not finite")
    return samples, lost


def _decoded(media: Any, rate: int, limit: int, size: int | None) -> tuple[np.ndarray, Packets]:
    """At most ``limit`` samples of a file's first ``size`` bytes (None: all), and what became of its packets."""
    parts: list[np.ndarray] = []
    read = 0
    with open_container(media, "sound", size) as container:
        if not container.streams.audio:
            raise MediaError("no sound stream")
        packets = Packets(container, container.streams.audio[0])
        for part in _mono(packets.frames(), rate):
            parts.append(part)
            read += len(part)
            if read >= limit:
                break
        if not read and packets.first is not None:
            raise packets.first
    if not read:
        raise MediaError("no sound samples")
    return np.concatenate(parts)[:limit].astype(np.float32, copy=False), packets


def _mono(frames: Iterator[Any], rate: int) -> Iterator[np.ndarray]:
    """Frames of any layout and rate -> mono float samples at one rate, part by part.

    Mono is the mean over the channels, without the low-frequency one: the same sound in one, two or six channels is the
    same. A stream that changes its layout or rate in the middle goes on.
    """
    import av

    resampler: Any = None
    form = None
    for frame in frames:
        frame = _mean(frame)
        found = (frame.format.name, frame.sample_rate)
        if found != form:
            if resampler is not None:
                yield from _flat(resampler.resample(None))
            resampler, form = av.AudioResampler(format="flt", layout="mono", rate=rate), found
        frame.pts = None  # the samples follow each other; gaps in time are no matter here
        yield from _flat(resampler.resample(frame))
    if resampler is not None:
        yield from _flat(resampler.resample(None))


def _flat(frames: list[Any]) -> Iterator[np.ndarray]:
    for frame in frames:
        yield frame.to_ndarray().reshape(-1)


def _mean(frame: Any) -> Any:
    """A frame of one channel: the mean of all but the low-frequency one. (FFmpeg's own mix adds 3 dB to stereo.)"""
    import av

    names = [channel.name for channel in frame.layout.channels]
    if len(names) < 2:
        return frame
    values = frame.to_ndarray()
    values = values.reshape(len(names), -1) if frame.format.is_planar else values.reshape(-1, len(names)).T
    heard = [place for place, name in enumerate(names) if name not in ("LFE", "LFE2")] or list(range(len(names)))
    mean = values[heard].mean(0, dtype=np.float64)
    if values.dtype.kind in "iu":
        info = np.iinfo(values.dtype)
        middle = 0 if info.min < 0 else (info.max + 1) // 2
        mean = (mean - middle) / (info.max - middle + 1)
    mono = av.AudioFrame.from_ndarray(mean.astype(np.float32)[None], format="fltp", layout="mono")
    mono.sample_rate = frame.sample_rate
    return mono
