"""Decoding the sound of a file, audio or video, with PyAV: mono, one sampling rate, a bounded read."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmgraph.encoders.base import missing_extra, regular_file
from mmgraph.features.encoded import MediaError


def read_sound(media: Any, sampling_rate: int = 16000, max_seconds: float = 60.0) -> np.ndarray:
    """The first ``max_seconds`` of a file's sound as mono float32 in about [-1, 1].

    Works on WAV, MP3, AAC, … and on the sound of an mp4. What the header says of the length is not believed:
    reading stops at ``max_seconds`` of samples or at the end of the file.

    Raises:
        MediaError: no sound stream, no samples, corrupt or unreadable.
    """
    path = regular_file(media)
    try:
        import av
    except ImportError as error:
        raise missing_extra("av") from error
    limit = max(1, int(max_seconds * sampling_rate))
    parts: list[np.ndarray] = []
    read = 0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise MediaError("no sound stream")
            audio = container.streams.audio[0]
            audio.codec_context.thread_count = 1  # threads are over files, not within one
            resampler = av.AudioResampler(format="flt", layout="mono", rate=sampling_rate)
            for frame in container.decode(audio):
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray().reshape(-1))
                    read += len(parts[-1])
                if read >= limit:
                    break
            else:
                parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(None)]
    except MediaError:
        raise
    except Exception as error:  # decoders meet any bytes and raise nearly anything; all of it means: corrupt
        raise MediaError(f"not readable as sound: {type(error).__name__}") from error
    samples = np.concatenate(parts)[:limit] if parts else np.zeros(0, dtype=np.float32)
    if not len(samples):
        raise MediaError("no sound samples")
    if not np.isfinite(samples).all():
        raise MediaError("sound samples are not finite")
    return samples.astype(np.float32, copy=False)
