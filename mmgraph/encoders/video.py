"""Video encoders: an image encoder over keyframes or uniform frames, and any VideoMAE-type model.

Sound comes from the same file: give the mp4 to an audio encoder. Frame vectors are stored as they are [T, D];
``mmgraph.nn.TemporalConv`` is the trained layer that pools them.
"""

from __future__ import annotations

import struct
import warnings
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from mmgraph.encoders.base import FileEncoder
from mmgraph.encoders.container import Packets, open_container
from mmgraph.encoders.huggingface import HuggingFaceEncoder, Tower, load_image_processor, plain_processor, pool_tokens
from mmgraph.encoders.image import MAX_PIXELS, ImageEncoder, check_pixels
from mmgraph.features.encoded import MediaError, Partly, Reads, partly

if TYPE_CHECKING:
    from PIL.Image import Image

Sampling = Literal["uniform", "keyframes"]

# Clips of at most so many frames are decoded from beginning to end; in longer ones we seek.
_DECODE_ALL = 450
# What all frames of a clip together may have: 240 MB of pixels. Larger frames are made smaller.
_ALL_PIXELS = 80_000_000
_BT709, _UNKNOWN, _HIGH_DEFINITION = 1, 2, 720


def read_frames(media: Any, count: int = 8, sampling: Sampling = "uniform") -> list[Image]:
    """Frames of a video as RGB pictures, in the order of time, as a player shows them.

    "uniform": exactly ``count`` frames, those that are shown at the middles of ``count`` equal parts of the clip's time
    (frames may lie unevenly in it); a clip with fewer frames repeats them. "keyframes": between 1 and ``count`` of the
    frames that decode alone, evenly spaced; an order of magnitude cheaper on long clips.

    Turned, mirrored and stretched as the file says, in the colours that it names (where it names none: BT.709 from 720
    lines on, BT.601 below). Packets that cannot be decoded are left out, with a warning.

    Raises:
        MediaError: no picture stream, no frames, too large, corrupt or unreadable.
    """
    pictures, lost = frames_and_losses(media, count, sampling)
    if lost:
        warnings.warn(f"{media}: {lost}", stacklevel=2)
    return pictures


def frames_and_losses(media: Any, count: int, sampling: Sampling) -> tuple[list[Image], str]:
    """As :func:`read_frames`, and what could not be decoded in words (empty where all could)."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    with _pictures_of(media, sampling) as packets:  # which frames: from their times, where there are any
        times = None if sampling == "keyframes" else _times(packets)
        if times == [] and packets.first is not None:
            raise packets.first
    if times is None:
        with _pictures_of(media, sampling) as packets:
            total = sum(1 for _ in packets.frames())
            if not total and packets.first is not None:
                raise packets.first
    else:
        total = len(times)
    if not total:
        raise MediaError("no frames")
    with _pictures_of(media, sampling) as packets:
        if times is not None:
            frames = _at_times(packets, _due(times, count), total)
        else:
            due = middles(total, min(count, total) if sampling == "keyframes" else count)
            wanted = set(due)
            kept = {at: frame for at, frame in enumerate(packets.frames()) if at in wanted}
            frames = [kept[at] for at in due if at in kept]
        if not frames and packets.first is not None:
            raise packets.first
        stretch = float(packets.stream.sample_aspect_ratio or 1)
        pictures = [_picture(frame, stretch, _ALL_PIXELS // count) for frame in frames]
    if not pictures:
        raise MediaError("no frames")
    return pictures, packets.said()


@contextmanager
def _pictures_of(media: Any, sampling: Sampling) -> Iterator[Packets]:
    """The picture stream of a file."""
    with open_container(media, "video") as container:
        if not container.streams.video:
            raise MediaError("no picture stream")
        video = container.streams.video[0]
        check_pixels(video.codec_context.width, video.codec_context.height)
        video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the frames may be larger than the header says
        if sampling == "keyframes":
            video.codec_context.skip_frame = "NONKEY"
        yield Packets(container, video)


def middles(total: int, count: int) -> list[int]:
    """Positions of the middles of ``count`` equal parts of ``total`` things: floor((i + 1/2) total / count)."""
    return [min(total - 1, (2 * part + 1) * total // (2 * count)) for part in range(count)]


def _times(packets: Packets) -> list[tuple[int, int]] | None:
    """(time, duration) of every frame in order, without decoding any; None where packets have no times."""
    found = []
    for packet in packets.packets():
        if packet.size and not packet.is_discard:
            if packet.pts is None:
                return None
            found.append((int(packet.pts), int(packet.duration or 0)))
    return sorted(found)


def _due(shown: list[tuple[int, int]], count: int) -> list[int]:
    """The times of the frames that are shown at the middles of ``count`` equal parts of the clip."""
    times = [time for time, _ in shown]
    last = shown[-1][1] or (times[-1] - times[0]) // max(1, len(times) - 1) or 1
    return [times[bisect_right(times, times[0] + at) - 1] for at in middles(times[-1] + last - times[0], count)]


def _at_times(packets: Packets, due: list[int], total: int) -> list[Any]:
    """The frames shown at these times [count], in order: one pass over a short clip, seeking in a long one."""
    wanted = sorted(set(due))
    found: dict[int, Any] = {}
    if total > _DECODE_ALL:
        for time in wanted:
            packets.container.seek(time, stream=packets.stream, backward=True)
            one = _pass(packets, [time])
            if not one or one[time].pts > time:  # a container that cannot seek
                break
            found |= one
        else:
            return [found[time] for time in due]
        packets.container.seek(0)
    found = _pass(packets, wanted)
    return [found[time] for time in due] if found else []


def _pass(packets: Packets, wanted: list[int]) -> dict[int, Any]:
    """Decodes until the last of the wanted times: time -> the newest frame not after it, or else the first."""
    found: dict[int, Any] = {}
    left, before = deque(wanted), None
    for frame in packets.frames():
        if frame.pts is None:
            continue
        while left and frame.pts >= left[0]:
            exact = frame.pts == left[0] or before is None
            found[left.popleft()] = frame if exact else before
        before = frame
        if not left:
            return found
    if before is not None:
        found.update(dict.fromkeys(left, before))
    return found


def _picture(frame: Any, stretch: float, most: int) -> Image:
    """A frame as it is shown: RGB of at most ``most`` pixels, with square pixels, turned."""
    from PIL import Image as Pillow

    check_pixels(frame.width, frame.height)
    shrink = min(1.0, (most / (frame.width * frame.height)) ** 0.5)
    width, height = max(1, round(frame.width * shrink * stretch)), max(1, round(frame.height * shrink))
    unnamed = frame.colorspace == _UNKNOWN and frame.height >= _HIGH_DEFINITION
    size = {} if (width, height) == (frame.width, frame.height) else {"width": width, "height": height}
    image = frame.reformat(format="rgb24", src_colorspace=_BT709 if unnamed else None, **size).to_image()
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = struct.unpack("<5i", bytes(matrix)[:20])
    turn = _TURNS.get((_sign(a), _sign(b), _sign(c), _sign(d)))
    return image if turn is None else image.transpose(getattr(Pillow.Transpose, turn))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


# What a display matrix (x' = a x + c y, y' = b x + d y) by right angles does, in Pillow's words.
_TURNS = {
    (0, 1, -1, 0): "ROTATE_270",
    (-1, 0, 0, -1): "ROTATE_180",
    (0, -1, 1, 0): "ROTATE_90",
    (-1, 0, 0, 1): "FLIP_LEFT_RIGHT",
    (1, 0, 0, -1): "FLIP_TOP_BOTTOM",
    (0, 1, 1, 0): "TRANSPOSE",
    (0, -1, -1, 0): "TRANSVERSE",
}


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
    version: ClassVar[str] = "2"
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

    def decode(self, media: Any) -> Tensor | Partly:
        """[T_i, 3, H, W]: the frames, prepared for the image encoder."""
        frames, lost = frames_and_losses(media, self.num_frames, self.sampling)
        return partly(torch.stack([self.image.prepare(frame) for frame in frames]), lost)

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
    version: ClassVar[str] = "2"
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
        frames = getattr(self._checkpoint.model.config, "num_frames", None)
        if frames is None:
            raise ValueError(f"{self.name_or_folder} is no video model: its configuration has no num_frames")
        return int(frames)

    def decode(self, media: Any) -> Tensor | Partly:
        """[T, 3, H, W]: the processor's pixels."""
        frames, lost = frames_and_losses(media, self._frames, "uniform")
        pixels = self._processor(frames, return_tensors="pt")["pixel_values"]
        return partly(pixels.reshape(len(frames), *pixels.shape[-3:]), lost)

    def encode(self, items: Sequence[Tensor]) -> Tensor:
        """[B, D] mean over tokens."""
        pixels = torch.stack(list(items)).to(self.device)
        return pool_tokens(self._checkpoint.model(pixel_values=pixels).last_hidden_state, "mean")
