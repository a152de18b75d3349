"""Pictures and sounds of a dataset's videos for the page; a video without them is a title."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmgraph.data import Dataset
from mmgraph.encoders.image import read_image
from mmgraph.encoders.sound import read_sound
from mmgraph.encoders.video import read_frames
from mmgraph.features.encoded import MediaError
from mmgraph.report.charts import jpeg_uri, sound_uri
from mmgraph.report.content import Clip

if TYPE_CHECKING:
    from PIL import Image

_RATE, _SECONDS = 16_000, 1.6


class Clips:
    """The videos of a dataset as cards, read from their files when asked.

    What cannot be read, or needs a package that is not installed, is left out: a report shows what there is.

    Args:
        dataset: titles and media files.
    """

    def __init__(self, dataset: Dataset) -> None:
        raw = [str(each) for each in dataset.video_ids.ids]
        named = dataset.videos["title"].to_list() if "title" in dataset.videos.columns else raw
        self.titles = [str(title) if title else name for title, name in zip(named, raw, strict=True)]
        self.media = dataset.media
        self.frame = lru_cache(maxsize=256)(self._frame)

    @property
    def pictures(self) -> bool:
        """Whether any video has a picture or frames."""
        return any(any(self.media.get(kind, ())) for kind in ("image", "video"))

    def clip(self, video: int, size: tuple[int, int] = (120, 160), *, sound: bool = True) -> Clip:
        """The card of a video row: its picture of `size` (width, height), and the beginning of its sound."""
        picture = self.frame(video)
        image = None if picture is None else jpeg_uri(picture, size)
        return Clip(self.titles[video], image=image, sound=self.sound(video) if sound else None)

    def _frame(self, video: int) -> Image.Image | None:
        """The first picture of a video row, or a frame from the middle of its first file."""
        try:
            if pictures := self._files("image", video):
                return read_image(pictures[0])
            if films := self._files("video", video):
                return read_frames(films[0], 1)[0]
        except (MediaError, ImportError):
            pass
        return None

    def sound(self, video: int) -> str | None:
        """The beginning of a video row's sound as a `data:` URI."""
        for kind in ("audio", "video"):
            for file in self._files(kind, video)[:1]:
                try:
                    track = read_sound(file, _RATE, _SECONDS)
                except (MediaError, ImportError):
                    continue
                return sound_uri((np.clip(track, -1, 1) * 32767).astype(np.int16), _RATE, _SECONDS)
        return None

    def _files(self, kind: str, video: int) -> list:
        files = self.media.get(kind, ())
        return list(files[video]) if video < len(files) else []
