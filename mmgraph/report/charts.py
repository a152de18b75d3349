"""Drawings of a report: lines over epochs as SVG, and pictures and sounds as `data:` URIs."""

from __future__ import annotations

import base64
import io
import math
import wave
from collections.abc import Sequence
from html import escape
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


def line_chart(curve: Curve) -> str:
    """A curve as an SVG element with a few grid lines, its title, and a dot at the best epoch."""
    width, height, left, right, top, bottom = 360, 210, 54, 12, 30, 28
    points = [(x, y) for x, y in zip(curve.epochs, curve.values) if math.isfinite(y)]
    if not points:
        return f'<svg viewBox="0 0 {width} {height}"><text x="{left}" y="18">{escape(curve.title)}</text></svg>'
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    pad = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    low, high = low - pad, high + pad
    x0, span = min(xs), (max(xs) - min(xs)) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (width - left - right) * (x - x0) / span
        return round(across, 1), round(height - bottom - (height - top - bottom) * (y - low) / (high - low), 1)

    parts = [f'<text x="{left}" y="16" style="font-weight:600;font-size:12.5px">{escape(curve.title)}</text>']
    for k in range(4):
        value = low + (high - low) * k / 3
        _, y = at(x0, value)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
    for value, anchor in ((min(xs), "start"), (max(xs), "end")):
        x, _ = at(value, low)
        parts.append(f'<text x="{x}" y="{height - 8}" text-anchor="{anchor}">epoch {value:.0f}</text>')
    path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
    parts.append(f'<polyline class="line" points="{path}"/>')
    for x, y in points:
        if x == curve.best:
            cx, cy = at(x, y)
            parts.append(f'<circle class="best" cx="{cx}" cy="{cy}" r="4.5"><title>{y:.4f}</title></circle>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


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
