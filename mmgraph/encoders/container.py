"""Opening a sound or a clip with PyAV: only formats that hold their own bytes, and packet by packet.

What one bad packet spoils is that packet: what follows is decoded, and what was lost is counted.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mmgraph.encoders.base import missing_extra, regular_file
from mmgraph.features.encoded import MediaError

# Demuxers by FFmpeg's names. Playlists (HLS, concat, DASH, …) are left out: such a file names others, also on the net.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,gif,h264,hevc,image2,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,"
    "tiff_pipe,gif_pipe,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,mpegvideo,ogg,oga,rm,wav,w64,wv,tta"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


@contextmanager
def open_container(media: Any, what: str, size: int | None = None) -> Iterator[Any]:
    """A PyAV container of one file. Whatever a decoder raises inside becomes a MediaError that says ``what`` it is no.

    Args:
        media: the file.
        what: sound, video.
        size: read only so many bytes, as if the file ended there.

    Raises:
        MediaError: no regular file, another format, or corrupt.
    """
    path: Path = regular_file(media)
    try:
        import av
    except ImportError as error:
        raise missing_extra("av") from error
    try:
        with ExitStack() as stack:
            source = str(path) if size is None else stack.enter_context(_Head(path, size))
            yield stack.enter_context(av.open(source, metadata_errors="ignore", options=dict(_OPTIONS)))
    except MediaError:
        raise
    except Exception as error:  # decoders meet any bytes and raise nearly anything; all of it means: corrupt
        raise MediaError(f"not readable as {what}: {type(error).__name__}") from error


class _Head(io.FileIO):
    """The first bytes of a file."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path, "rb")
        self.size = size

    def read(self, size: int = -1, /) -> bytes:
        """As a file's, up to the limit."""
        left = max(0, self.size - self.tell())
        return super().read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As a file's; its end is the limit."""
        return super().seek(self.size + offset, 0) if whence == 2 else super().seek(offset, whence)


class Packets:
    """The frames of one stream, and how many packets could not be decoded.

    ``lost`` counts packets; ``first`` is the error of the first of them; ``broken`` says that the file itself ended in
    one (what came after it, if anything, is not known). ``tail`` is where the packets begin that could not be decoded
    and that no good one follows.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.container, self.stream = container, stream
        stream.codec_context.thread_count = 1  # threads are over files, not within one
        self.good, self.lost = 0, 0
        self.first: Exception | None = None
        self.broken = False
        self.tail: int | None = None

    def packets(self) -> Iterator[Any]:
        """The stream's packets, up to its end or to where the file is broken."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except Exception as error:
                self.first, self.broken = self.first or error, True
                return
            if packet is None:
                return
            yield packet

    def frames(self) -> Iterator[Any]:
        """The stream's frames; a packet that cannot be decoded is counted and left out."""
        for packet in self.packets():
            try:
                frames = packet.decode()
            except Exception as error:
                if packet.size:
                    self.lost += 1
                    self.first = self.first or error
                    self.tail = self.tail or packet.pos
                continue
            if packet.size:
                self.good += 1
                self.tail = None
            yield from frames

    def said(self) -> str:
        """What was lost, in words; empty where nothing was."""
        parts = []
        if self.lost:
            parts.append(f"{self.lost} of {self.lost + self.good} packets could not be decoded")
        if self.broken:
            parts.append("the file breaks off")
        return " and ".join(parts)
