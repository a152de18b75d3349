"""Video encoders: an image encoder over keyframes or uniform frames, and any VideoMAE-type model.

Sound comes from the same file: give the mp4 to an audio encoder. Frame vectors are stored as they are [T, D];
``mmgraph.nn.frames`` holds the trained layers that pool them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from mmgraph.encoders.base import FileEncoder, missing_extra, regular_file
from mmgraph.encoders.huggingface import HuggingFaceEncoder, Tower, load_image_processor, plain_processor, pool_tokens
from mmgraph.encoders.image import ImageEncoder
from mmgraph.features.encoded import MediaError, Reads

if TYPE_CHECKING:
    from PIL.Image import Image

Sampling = Literal["uniform", "keyframes"]

# Clips of at most so many frames are decoded from beginning to end; in longer ones we seek.
_DECODE_ALL = 450


def read_frames(media: Any, count: int = 8, sampling: Sampling = "uniform") -> list[Image]:
    """Frames of a video as RGB pictures, in the order of time.

    "uniform": exactly ``count`` frames at the middles of ``count`` equal parts of the clip; a clip with fewer
    frames repeats them. "keyframes": between 1 and ``count`` of the frames that decode alone, evenly spaced; an
    order of magnitude cheaper on long clips.

    Raises:
        MediaError: no picture stream, no frames, corrupt or unreadable.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    path = regular_file(media)
    try:
        import av
    except ImportError as error:
        raise missing_extra("av") from error
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise MediaError("no picture stream")
            video = container.streams.video[0]
            video.codec_context.thread_count = 1  # threads are over files, not within one
            if sampling == "keyframes":
                frames = _keyframes(container, video, count)
            else:
                length = _ticks(container, video)
                short = 0 < video.frames <= _DECODE_ALL or length is None
                frames = [] if short else _seek(container, video, count, length or 0)
                if not frames:  # short, of unknown length, or in a container that cannot seek
                    container.seek(0)
                    frames = _uniform(container, video, count)
            pictures = [frame.to_image() for frame in frames]
    except MediaError:
        raise
    except Exception as error:  # decoders meet any bytes and raise nearly anything; all of it means: corrupt
        raise MediaError(f"not readable as video: {type(error).__name__}") from error
    if not pictures:
        raise MediaError("no frames")
    return pictures


def middles(total: int, count: int) -> list[int]:
    """Positions of the middles of ``count`` equal parts of ``total`` things: floor((i + 1/2) total / count)."""
    return [min(total - 1, (2 * part + 1) * total // (2 * count)) for part in range(count)]


def _uniform(container: Any, video: Any, count: int) -> list[Any]:
    """Decode all, keep what is due. The header's frame count is a hint only: it may lie."""
    expected = video.frames
    if expected > 0:
        wanted = set(middles(expected, count))
        kept: dict[int, Any] = {}
        seen = 0
        for position, frame in enumerate(container.decode(video)):
            if position in wanted:
                kept[position] = frame
            seen = position + 1
        if seen == expected:
            return [kept[position] for position in middles(expected, count)]
        container.seek(0)
    total = sum(1 for _ in container.decode(video))
    if not total:
        return []
    container.seek(0)
    wanted = set(middles(total, count))
    kept = {position: frame for position, frame in enumerate(container.decode(video)) if position in wanted}
    return [kept[position] for position in middles(total, count) if position in kept]


def _ticks(container: Any, video: Any) -> int | None:
    """The clip's length in the stream's time base, from the stream's header or the container's (microseconds)."""
    if video.duration:
        return int(video.duration)
    if container.duration and video.time_base:
        return int(container.duration / 1_000_000 / video.time_base)
    return None


def _seek(container: Any, video: Any, count: int, length: int) -> list[Any]:
    """For each due time: go to the keyframe before it and decode up to it."""
    start = video.start_time or 0
    frames = []
    for target in middles(length, count):
        container.seek(start + target, stream=video, backward=True)
        found = None
        for frame in container.decode(video):
            if found is not None and frame.pts is not None and frame.pts > start + target:
                break
            found = frame
        if found is not None:
            frames.append(found)
    return frames


def _keyframes(container: Any, video: Any, count: int) -> list[Any]:
    video.codec_context.skip_frame = "NONKEY"
    # Keyframes are few, but a clip that is all keyframes must not fill the memory: two passes, then.
    total = sum(1 for _ in container.decode(video))
    if not total:
        return []
    container.seek(0)
    wanted = set(middles(total, count))
    return [frame for position, frame in enumerate(container.decode(video)) if position in wanted]


@dataclass(frozen=True, eq=False)
class VideoFrames(FileEncoder):
    """The vectors of a video's frames [T, D] by a frozen image encoder, in the order of time.

    Args:
        image: the encoder of each frame.
        num_frames: T; "uniform" always gives T, "keyframes" between 1 and T.
        sampling: which frames.
        batch_size: videos at once; their frames go through the network ``image.batch_size`` at a time.
    """

    reads: ClassVar[Reads] = "video"
    image: ImageEncoder
    num_frames: int = 8
    sampling: Sampling = "uniform"
    batch_size: int = 4

    @property
    def name(self) -> str:
        """The image encoder's name, with "frames:" before it."""
        return f"frames:{self.image.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, D)."""
        return (self.num_frames, self.image.dim)

    def settings(self) -> dict[str, Any]:
        """Which frames, and all of the image encoder's description."""
        return {"num_frames": self.num_frames, "sampling": self.sampling, "image": self.image.describe()}

    def weights_hash(self) -> str:
        """The image encoder's."""
        return self.image.weights_hash()

    def decode(self, media: Any) -> Tensor:
        """[T_i, 3, H, W]: the frames, prepared for the image encoder."""
        frames = read_frames(media, self.num_frames, self.sampling)
        return torch.stack([self.image.prepare(frame) for frame in frames])

    def encode(self, items: Sequence[Tensor]) -> list[Tensor]:
        """Frame vectors, a [T_i, D] for each video."""
        frames = [frame for item in items for frame in item]
        size = max(1, self.image.batch_size)
        parts = [self.image.encode(frames[at : at + size]).cpu() for at in range(0, len(frames), size)]
        return list(torch.cat(parts).split([len(item) for item in items]))


@dataclass(frozen=True, eq=False)
class HuggingFaceVideo(HuggingFaceEncoder, FileEncoder):
    """Mean of the last layer's tokens of a VideoMAE-type model, by name or folder.

    VideoMAE (Tong et al., NeurIPS 2022, https://arxiv.org/abs/2203.12602). The model sees its own number of
    uniform frames (``config.num_frames``).

    Args:
        name_or_folder: a model name of the hub, or a folder that holds one.
        batch_size: videos at once.
        device: where the network runs.
        label: the name in stores and passports, by default ``name_or_folder``'s last part.
    """

    reads: ClassVar[Reads] = "video"
    tower: ClassVar[Tower] = "vision"
    name_or_folder: str | Path
    batch_size: int = 2
    device: str = "cpu"
    label: str | None = field(default=None, kw_only=True)

    def settings(self) -> dict[str, Any]:
        """Frames seen, and the processor's resizing and normalisation."""
        return {"num_frames": self._frames, "processor": plain_processor(self._processor)}

    @cached_property
    def _processor(self) -> Any:
        return load_image_processor(self.name_or_folder)

    @property
    def _frames(self) -> int:
        return int(self._checkpoint.model.config.num_frames)

    def decode(self, media: Any) -> Tensor:
        """[T, 3, H, W]: the processor's pixels."""
        frames = read_frames(media, self._frames, "uniform")
        pixels = self._processor(frames, return_tensors="pt")["pixel_values"]
        return pixels.reshape(len(frames), *pixels.shape[-3:])

    def encode(self, items: Sequence[Tensor]) -> Tensor:
        """[B, D] mean over tokens."""
        pixels = torch.stack(list(items)).to(self.device)
        return pool_tokens(self._checkpoint.model(pixel_values=pixels).last_hidden_state, "mean")
