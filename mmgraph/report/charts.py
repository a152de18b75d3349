"""Drawings of a report: lines over epochs, and pictures and sounds as `data:` URIs."""

from __future__ import annotations

import base64
import io
import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmgraph.report.content import Curve

if TYPE_CHECKING:
    from PIL import Image

# Twelve colours that stay apart on light and dark ground.
COLOURS = (
    "#3b82f6",
    "#a16207",
    "#6b7280",
    "#16a34a",
    "#7c3aed",
    "#f97316",
    "#dc2626",
    "#0ea5a4",
    "#ec4899",
    "#eab308",
    "#64a1c9",
    "#84cc16",
)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from below ``low`` to above ``high``, at most ``most`` + 1 of them: steps of 1, 2 or 5 · 10^n."""
    if not high > low:
        low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * at for at in range(first, last + 1)]


@dataclass(frozen=True)
class Drawing:
    """A curve in the pixels of its SVG: the line, its axes as (place, label), and the marked epoch."""

    title: str
    summary: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    points: Sequence[tuple[float, float]] = ()
    xs: Sequence[tuple[float, str]] = ()
    ys: Sequence[tuple[float, str]] = ()
    best: tuple[float, float] | None = None


def drawing(curve: Curve) -> Drawing:
    """A curve with round numbers at its axes, its first, last and best value in words, and the best epoch marked."""
    width, height, left, top, under, beside = 360, 230, 58, 32, 42, 16
    right, bottom = width - beside, height - under
    known = [(x, y) for x, y in zip(curve.epochs, curve.values, strict=True) if math.isfinite(y)]
    if not known:
        return Drawing(curve.title, f"{curve.title}: nothing to draw", width, height, left, right, bottom)
    x0, x1 = min(x for x, _ in known), max(x for x, _ in known)
    levels = ticks(min(y for _, y in known), max(y for _, y in known))

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / ((x1 - x0) or 1)
        up = (y - levels[0]) / (levels[-1] - levels[0])
        return round(left + (right - left) * across, 1), round(bottom - (bottom - top) * up, 1)

    whole = [x for x in ticks(x0, x1, 6) if x0 <= x <= x1 and float(x).is_integer()] if x1 > x0 else [x0]
    marked = next(((x, y) for x, y in known if x == curve.best), None)
    summary = f"{curve.title} over epochs: {known[0][1]:.4g} at epoch {known[0][0]:g}, {known[-1][1]:.4g} at the last"
    if marked is not None:
        summary += f", {marked[1]:.4g} at the best, epoch {marked[0]:g}"
    decimals = max(0, -math.floor(math.log10(levels[1] - levels[0]) + 1e-9))
    return Drawing(
        curve.title,
        summary,
        width,
        height,
        left,
        right,
        bottom,
        points=[at(x, y) for x, y in known],
        xs=[(at(x, levels[0])[0], f"{x:g}") for x in whole],
        ys=[(at(x0, y)[1], f"{y:,.{decimals}f}") for y in levels],
        best=None if marked is None else at(*marked),
    )


def jpeg_uri(image: Image.Image, size: tuple[int, int] | None = None, quality: int = 80) -> str:
    """A picture as a `data:` URI, scaled to `size` (width, height) when given."""
    buffer = io.BytesIO()
    image = image.convert("RGB")
    (image if size is None else image.resize(size)).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def sprite_uri(images: Sequence[Image.Image | None], columns: int, tile: tuple[int, int]) -> str:
    """Pictures side by side in one, row by row, `columns` a row, each scaled to `tile` (width, height).

    None leaves its tile grey.
    """
    from PIL import Image

    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * tile[0], max(1, rows) * tile[1]), (128, 128, 136))
    for at, image in enumerate(images):
        if image is not None:
            sheet.paste(image.convert("RGB").resize(tile), ((at % columns) * tile[0], (at // columns) * tile[1]))
    return jpeg_uri(sheet, quality=70)


def sound_uri(samples: NDArray[np.integer], rate: int, seconds: float = 1.6) -> str:
    """The beginning of a mono int16 track [n] as a small WAV (8 bit, half the rate) in a `data:` URI."""
    half = samples[: int(seconds * rate) // 2 * 2].astype(np.float32).reshape(-1, 2).mean(1)
    small = np.clip(np.round(half / 256) + 128, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(rate // 2)
        file.writeframes(small.tobytes())
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()
