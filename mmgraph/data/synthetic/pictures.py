"""Frames of a world's videos, drawn: a motif for each topic, a palette and a finish for each style."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmgraph.data.synthetic.words import STYLES

if TYPE_CHECKING:
    from PIL import Image

SIZE = (120, 160)  # width, height in pixels: upright, as short videos are
Colour = tuple[int, int, int]


class Palette(NamedTuple):
    """The colours of a style: sky from `top` to `bottom`, then what is drawn on it."""

    top: str
    bottom: str
    ground: str
    water: str
    night: str
    main: str
    accent: str
    detail: str
    outline: str | None


# top, bottom, ground, water, night, main, accent, detail, outline
_PALETTES = {
    "neon": ("#0b0326", "#3a0a5e", "#12052e", "#0f2b52", "#08021a", "#22104f", "#0f2b52", "#fff35c", "#00f0ff"),
    "watercolor": ("#bfe0f5", "#fde3ea", "#b5dcae", "#8fc7e8", "#8d8cc4", "#f39aa8", "#86b6ea", "#fff1bf", None),
    "pixel": ("#5c94fc", "#9ad0ff", "#00a800", "#2860e8", "#181048", "#d82800", "#fc9838", "#fcfc54", "#101010"),
    "ink": ("#f4efe2", "#e4dcc6", "#8d887c", "#a8a294", "#3c3a37", "#2b2a28", "#6b675f", "#d4ccb8", "#111111"),
    "film": ("#0f4c5c", "#f2a65a", "#3d2b1f", "#1f6f78", "#14202b", "#c8553d", "#e8b06a", "#ffe3b3", None),
    "popart": ("#ffe600", "#ffe600", "#00b4d8", "#3a86ff", "#21295c", "#ff2e63", "#3a86ff", "#ffffff", "#000000"),
}
_PALETTES = {name: Palette(*colours) for name, colours in _PALETTES.items()}


class _Brush:
    """Draws in units of the frame: x and y from 0 to 1, radii in widths."""

    def __init__(self, image: Image.Image, colours: dict[str, Colour | None], rng: np.random.Generator) -> None:
        from PIL import ImageDraw

        self.draw = ImageDraw.Draw(image)
        self.width, self.height = image.size
        self.colours = colours
        self.rng = rng
        self.stroke = max(2, self.width // 60)

    def colour(self, name: str, light: float = 1.0) -> Colour:
        base = self.colours[name] or (0, 0, 0)
        if light <= 1:
            return tuple(int(c * light) for c in base)  # type: ignore[return-value]
        return tuple(int(255 - (255 - c) / light) for c in base)  # type: ignore[return-value]

    def _line(self) -> Colour | None:
        return self.colours["outline"]

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return x * self.width, y * self.height

    def oval(self, x: float, y: float, rx: float, ry: float | None, name: str, light: float = 1.0) -> None:
        cx, cy = self._at(x, y)
        dx, dy = rx * self.width, (rx if ry is None else ry) * self.width
        box = (cx - dx, cy - dy, cx + dx, cy + dy)
        self.draw.ellipse(box, self.colour(name, light), self._line(), self.stroke if self._line() else 0)

    def arc(self, x: float, y: float, rx: float, ry: float, a: float, b: float, name: str, width: float) -> None:
        cx, cy = self._at(x, y)
        dx, dy = rx * self.width, ry * self.width
        thick = max(1, int(width * self.width))
        self.draw.arc((cx - dx, cy - dy, cx + dx, cy + dy), a, b, self.colour(name), thick)

    def shape(self, points: list[tuple[float, float]], name: str, light: float = 1.0) -> None:
        corners = [self._at(x, y) for x, y in points]
        self.draw.polygon(corners, self.colour(name, light))
        if self._line():
            self.draw.line([*corners, corners[0]], self._line(), self.stroke, joint="curve")

    def box(self, x0: float, y0: float, x1: float, y1: float, name: str, light: float = 1.0, r: float = 0) -> None:
        corners = (*self._at(x0, y0), *self._at(x1, y1))
        line = self._line()
        self.draw.rounded_rectangle(corners, r * self.width, self.colour(name, light), line, self.stroke if line else 0)

    def line(self, points: list[tuple[float, float]], name: str, width: float) -> None:
        corners = [self._at(x, y) for x, y in points]
        self.draw.line(corners, self.colour(name), max(1, int(width * self.width)), joint="curve")

    def dot(self, x: float, y: float, r: float, name: str, light: float = 1.0) -> None:
        cx, cy = self._at(x, y)
        r *= self.width
        self.draw.ellipse((cx - r, cy - r, cx + r, cy + r), self.colour(name, light))


def _ocean(b: _Brush, t: float) -> None:
    b.oval(b.rng.uniform(0.25, 0.75), 0.3 + 0.03 * t, 0.17, None, "detail")
    boat = 0.25 + 0.4 * t + b.rng.uniform(-0.1, 0.1)
    b.shape([(boat, 0.3), (boat, 0.55), (boat + 0.22, 0.55)], "detail", 0.95)
    b.shape([(boat - 0.14, 0.57), (boat + 0.24, 0.57), (boat + 0.16, 0.64), (boat - 0.06, 0.64)], "main")
    for row in range(4):
        y = 0.62 + 0.1 * row
        xs = np.linspace(-0.05, 1.05, 24)
        wave = y + 0.018 * np.sin(2 * np.pi * (2.2 * xs + t + 0.37 * row))
        b.shape([*zip(xs.tolist(), wave.tolist()), (1.05, 1.05), (-0.05, 1.05)], "water", 1.25 - 0.17 * row)


def _mountains(b: _Brush, t: float) -> None:
    b.oval(0.78 - 0.1 * t, 0.2, 0.11, None, "detail")
    for peak, (x, y, half) in enumerate(((0.28, 0.3, 0.42), (0.72, 0.38, 0.4), (0.5, 0.5, 0.5))):
        x += b.rng.uniform(-0.06, 0.06) - 0.02 * t
        b.shape([(x - half, 0.9), (x, y), (x + half, 0.9)], "main" if peak != 1 else "accent", 0.85 + 0.1 * peak)
        cap = 0.27
        b.shape(
            [
                (x, y),
                (x - half * cap, y + 0.145),
                (x - 0.03, y + 0.11),
                (x + 0.05, y + 0.16),
                (x + half * cap, y + 0.145),
            ],
            "detail",
        )
    b.shape([(-0.1, 0.86), (0.4, 0.8), (1.1, 0.88), (1.1, 1.1), (-0.1, 1.1)], "ground")


def _city(b: _Brush, t: float) -> None:
    b.oval(0.2 + 0.1 * t, 0.17, 0.1, None, "detail")
    x = -0.04
    while x < 1.0:
        wide, tall = b.rng.uniform(0.16, 0.26), b.rng.uniform(0.3, 0.68)
        b.box(x, 1 - tall, x + wide, 1.05, "main" if b.rng.random() < 0.5 else "accent", 0.8)
        for wx in np.arange(x + 0.035, x + wide - 0.05, 0.06):
            for wy in np.arange(1 - tall + 0.04, 0.93, 0.07):
                if (b.rng.random() + t / 3) % 1 < 0.6:
                    left, top = b._at(wx, wy)
                    b.draw.rectangle((left, top, left + 0.03 * b.width, top + 0.04 * b.width), b.colour("detail"))
        x += wide


def _forest(b: _Brush, t: float) -> None:
    b.oval(0.5, 0.25, 0.14, None, "detail")
    b.shape([(-0.1, 0.8), (1.1, 0.76), (1.1, 1.1), (-0.1, 1.1)], "ground", 0.8)
    for x in (0.12, 0.88, 0.34, 0.68, 0.5):
        x += b.rng.uniform(-0.05, 0.05)
        sway, low, scale = 0.03 * np.sin(6.28 * t + 0.8), b.rng.uniform(0.82, 0.93), b.rng.uniform(0.8, 1.1)
        b.box(x - 0.025, low - 0.08, x + 0.025, low + 0.05, "main", 0.5)
        for layer in range(3):
            y, half = low - 0.05 - 0.13 * layer * scale, (0.19 - 0.045 * layer) * scale
            b.shape([(x - half, y), (x + sway * layer, y - 0.2 * scale), (x + half, y)], "ground", 1.0 + 0.15 * layer)


def _space(b: _Brush, t: float) -> None:
    b.box(-0.1, -0.1, 1.1, 1.1, "night")
    for _ in range(60):
        x, y, r = b.rng.random(), b.rng.random(), b.rng.uniform(0.004, 0.014)
        b.dot(x, y, r * (0.6 + 0.4 * np.sin(6.28 * (t + x)) ** 2), "detail")
    x, y, r = b.rng.uniform(0.4, 0.6), b.rng.uniform(0.42, 0.58), b.rng.uniform(0.2, 0.27)
    b.arc(x, y, r * 1.75, r * 0.55, 180, 360, "accent", 0.05)
    b.oval(x, y, r, None, "main")
    b.arc(x, y, r * 0.8, r * 0.8, 100, 220, "detail", 0.02)
    b.arc(x, y, r * 1.75, r * 0.55, 0, 180, "accent", 0.05)
    b.oval(0.2 + 0.5 * t, 0.16, 0.06, None, "accent", 1.2)


def _cats(b: _Brush, t: float) -> None:
    b.shape([(-0.1, 0.82), (1.1, 0.82), (1.1, 1.1), (-0.1, 1.1)], "ground")
    x, y, r = b.rng.uniform(0.45, 0.55), b.rng.uniform(0.46, 0.52), b.rng.uniform(0.26, 0.31)
    coat = "main" if b.rng.random() < 0.5 else "accent"
    tail = [(x + r, 0.9), (x + r + 0.13, 0.8), (x + r + 0.08 + 0.08 * np.sin(6.28 * t + 0.8), 0.66)]
    b.line(tail, coat, 0.07)
    b.oval(x, 0.86, r * 0.95, r * 1.0, coat, 0.9)
    for side in (-1, 1):
        b.shape(
            [(x + side * r * 0.95, y - 0.05), (x + side * r * 0.85, y - 0.27), (x + side * r * 0.2, y - 0.17)], coat
        )
    b.oval(x, y, r, r * 0.88, coat)
    for side in (-1, 1):
        b.oval(x + side * r * 0.42, y - 0.02, 0.065, 0.075 * (0.15 if 0.55 < t < 0.7 else 1), "detail")
        b.dot(x + side * r * 0.42 + 0.015, y - 0.02, 0.028, "outline")
        for whisker in (-1, 0, 1):
            b.line([(x + side * 0.1, y + 0.09), (x + side * 0.36, y + 0.08 + 0.035 * whisker)], "outline", 0.011)
    b.shape([(x - 0.035, y + 0.05), (x + 0.035, y + 0.05), (x, y + 0.085)], "outline")


def _food(b: _Brush, t: float) -> None:
    b.shape([(-0.1, 0.8), (1.1, 0.8), (1.1, 1.1), (-0.1, 1.1)], "ground")
    x = b.rng.uniform(0.46, 0.54)
    for steam in (-0.18, 0.0, 0.18):
        ys = np.linspace(0.14, 0.42, 12)
        xs = x + steam + 0.03 * np.sin(2 * np.pi * (3 * ys + t))
        b.line([*zip(xs.tolist(), ys.tolist())], "detail", 0.025)
    b.line([(x + 0.08, 0.5), (x + 0.42, 0.2)], "outline", 0.03)
    b.line([(x + 0.14, 0.52), (x + 0.48, 0.25)], "outline", 0.03)
    b.oval(x, 0.54, 0.4, 0.13, "accent")
    for noodle in range(7):
        start = x - 0.3 + 0.085 * noodle
        b.arc(start + 0.05, 0.53, 0.1, 0.06, 180 - 40 * t, 360, "detail", 0.022)
    b.oval(x - 0.14, 0.535, 0.09, 0.055, "detail")
    b.dot(x - 0.14, 0.535, 0.032, "main", 1.5)
    turn = np.linspace(0, np.pi, 20)
    rim = [(x + 0.4 * np.cos(a), 0.555 + 0.27 * np.sin(a)) for a in turn]
    b.shape(rim, "main")
    b.box(x - 0.16, 0.8, x + 0.16, 0.85, "main", 0.8)


def _cars(b: _Brush, t: float) -> None:
    b.oval(0.5, 0.42, 0.24, None, "detail")
    b.shape([(-0.1, 0.56), (1.1, 0.56), (1.1, 1.1), (-0.1, 1.1)], "ground")
    b.shape([(0.42, 0.56), (0.58, 0.56), (1.05, 1.05), (-0.05, 1.05)], "outline", 1.3)
    for mark in range(4):
        y = 0.58 + (((mark + t) / 4) ** 1.6) * 0.5
        b.box(0.49 - 0.03 * (y - 0.5), y, 0.51 + 0.03 * (y - 0.5), y + 0.05 * y, "detail")
    x, paint = b.rng.uniform(0.4, 0.6), "main" if b.rng.random() < 0.6 else "accent"
    b.oval(x - 0.2, 0.87, 0.075, None, "outline")
    b.oval(x + 0.2, 0.87, 0.075, None, "outline")
    b.shape([(x - 0.2, 0.7), (x - 0.14, 0.58), (x + 0.14, 0.58), (x + 0.2, 0.7)], paint, 0.85)
    b.shape([(x - 0.15, 0.69), (x - 0.11, 0.605), (x + 0.11, 0.605), (x + 0.15, 0.69)], "top", 1.4)
    b.box(x - 0.3, 0.69, x + 0.3, 0.85, paint, r=0.06)
    for side in (-1, 1):
        b.oval(x + side * 0.2, 0.75, 0.055, 0.045, "detail")
    b.box(x - 0.1, 0.77, x + 0.1, 0.82, "outline")


def _flowers(b: _Brush, t: float) -> None:
    b.shape([(-0.1, 0.85), (1.1, 0.82), (1.1, 1.1), (-0.1, 1.1)], "ground", 0.8)
    for i, x in enumerate((0.2, 0.8, 0.5)):
        x += b.rng.uniform(-0.06, 0.06)
        y, r = (0.42, 0.5, 0.34)[i] + b.rng.uniform(-0.06, 0.06), b.rng.uniform(0.13, 0.17)
        lean = x + 0.03 * np.sin(6.28 * t + i)
        b.line([(x, 1.0), (lean, y)], "ground", 0.035)
        b.oval(x + 0.07, 0.8, 0.09, 0.035, "ground", 1.1)
        petal = "main" if b.rng.random() < 0.6 else "accent"
        for a in np.arange(0, 2 * np.pi, 2 * np.pi / 7):
            b.oval(lean + r * 0.8 * np.cos(a), y + r * 0.6 * np.sin(a), r * 0.5, None, petal, 1.05)
        b.oval(lean, y, r * 0.5, None, "detail")


def _balloons(b: _Brush, t: float) -> None:
    for x, y, r in ((0.15, 0.62, 0.05), (0.85, 0.22, 0.06)):
        for k in range(3):
            b.dot(x + 0.07 * k + 0.05 * t, y + 0.012 * (k % 2), r, "detail")
    b.shape([(-0.1, 0.9), (0.5, 0.84), (1.1, 0.92), (1.1, 1.1), (-0.1, 1.1)], "ground")
    for x, y, r, tone in ((0.72, 0.56, 0.13, "accent"), (0.4, 0.36, 0.26, "main")):
        x += b.rng.uniform(-0.06, 0.06)
        y += b.rng.uniform(-0.05, 0.05) - 0.05 * t
        b.shape(
            [(x - r * 0.75, y + r * 0.4), (x + r * 0.75, y + r * 0.4), (x + r * 0.25, y + r), (x - r * 0.25, y + r)],
            tone,
            0.8,
        )
        b.oval(x, y, r, r * 1.06, tone)
        b.oval(x, y, r * 0.62, r * 1.04, "detail")
        b.oval(x, y, r * 0.28, r * 1.02, tone, 1.1)
        b.box(x - r * 0.24, y + r * 1.15, x + r * 0.24, y + r * 1.4, "outline", 1.5)


def _robots(b: _Brush, t: float) -> None:
    b.shape([(-0.1, 0.88), (1.1, 0.88), (1.1, 1.1), (-0.1, 1.1)], "ground")
    x, body = b.rng.uniform(0.46, 0.54), "main" if b.rng.random() < 0.5 else "accent"
    b.line([(x, 0.25), (x, 0.13)], "outline", 0.025)
    b.oval(x, 0.12, 0.045, None, "detail")
    wave = 0.12 * np.sin(6.28 * t + 0.8)
    b.line([(x - 0.26, 0.6), (x - 0.4, 0.72)], body, 0.075)
    b.line([(x + 0.26, 0.6), (x + 0.4, 0.5 + wave)], body, 0.075)
    b.box(x - 0.13, 0.8, x - 0.04, 0.93, "outline", 1.6)
    b.box(x + 0.04, 0.8, x + 0.13, 0.93, "outline", 1.6)
    b.box(x - 0.24, 0.53, x + 0.24, 0.83, body, 0.85, r=0.05)
    b.box(x - 0.12, 0.6, x + 0.12, 0.72, "detail", 0.9, r=0.03)
    b.box(x - 0.29, 0.22, x + 0.29, 0.5, body, r=0.09)
    for side in (-1, 1):
        b.oval(x + side * 0.13, 0.34, 0.075, None, "detail")
        b.dot(x + side * 0.13 + 0.025 * np.cos(6.28 * t), 0.34, 0.035, "outline")
    b.box(x - 0.12, 0.425, x + 0.12, 0.455, "outline")


def _fish(b: _Brush, t: float) -> None:
    b.box(-0.1, -0.1, 1.1, 1.1, "water", 0.9)
    b.shape([(-0.1, 0.9), (0.4, 0.86), (1.1, 0.92), (1.1, 1.1), (-0.1, 1.1)], "detail", 0.85)
    for x in (0.12, 0.86, 0.7):
        ys = np.linspace(0.92, 0.6 + b.rng.uniform(0, 0.12), 10)
        b.line([*zip((x + 0.03 * np.sin(9 * ys + 6.28 * t)).tolist(), ys.tolist())], "ground", 0.05)
    for k, (x, y, r) in enumerate(((0.5, 0.45, 0.22), (0.3, 0.72, 0.11), (0.72, 0.2, 0.12))):
        way = 1 if b.rng.random() < 0.5 else -1
        x += b.rng.uniform(-0.07, 0.07) + way * 0.12 * (t - 0.5)
        tail = x - way * r * 0.9
        flap = r * (0.55 + 0.12 * np.sin(12 * t + k))
        b.shape(
            [(tail, y), (tail - way * r * 0.7, y - flap * 0.75), (tail - way * r * 0.7, y + flap * 0.75)], "main", 0.85
        )
        b.oval(x, y, r, r * 0.62, "main", 1.1)
        b.arc(x - way * r * 0.1, y, r * 0.3, r * 0.6, -90, 90, "detail", 0.03)
        b.dot(x + way * r * 0.6, y - 0.02, r * 0.16, "detail")
        b.dot(x + way * r * 0.63, y - 0.02, r * 0.08, "outline")
    for _ in range(7):
        b.oval(b.rng.random(), (b.rng.random() - 0.3 * t) % 1, b.rng.uniform(0.012, 0.03), None, "detail", 1.2)


_MOTIFS = (_ocean, _mountains, _city, _forest, _space, _cats, _food, _cars, _flowers, _balloons, _robots, _fish)


def draw_frame(
    topic: int, style: int, seed: np.random.SeedSequence, moment: float, size: tuple[int, int] = SIZE
) -> Image.Image:
    """One frame of a video: its topic's motif in its style, at `moment` in [0, 1) of its motion.

    `seed` sets what varies between videos of one topic and style: composition, sizes and a shift of the colours.
    Frames of one video share it. Returns an RGB picture of `size` (width, height).
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    name = STYLES[style].name
    colours = _shifted(_PALETTES[name], rng)
    wide, tall = 2 * size[0], 2 * size[1]
    sky = Image.new("RGB", (1, 2))
    sky.putpixel((0, 0), colours["top"] or (0, 0, 0))
    sky.putpixel((0, 1), colours["bottom"] or (0, 0, 0))
    canvas = sky.resize((wide, tall), Image.Resampling.BILINEAR)
    _MOTIFS[topic](_Brush(canvas, colours, rng), moment)
    return _finish(canvas.resize(size, Image.Resampling.BOX), name, rng)


def _shifted(palette: Palette, rng: np.random.Generator) -> dict[str, Colour | None]:
    hue, light = rng.uniform(-0.035, 0.035), rng.uniform(0.92, 1.06)
    result: dict[str, Colour | None] = {}
    for name, code in palette._asdict().items():
        if code is None:
            result[name] = None
            continue
        h, s, v = colorsys.rgb_to_hsv(*(int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)))
        rgb = colorsys.hsv_to_rgb((h + hue) % 1, s, min(1.0, v * light))
        result[name] = tuple(round(255 * c) for c in rgb)  # type: ignore[assignment]
    return result


@lru_cache(maxsize=8)
def _texture(kind: str, size: tuple[int, int]) -> np.ndarray:
    """Constant overlays [H, W, 1] float32: film grain, paper, vignette, halftone dots."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    rng = np.random.default_rng(20_250_101)
    if kind == "grain":
        value = rng.standard_normal((height, width))
    elif kind == "paper":
        coarse = rng.standard_normal((height // 8 + 2, width // 8 + 2))
        value = np.kron(coarse, np.ones((8, 8)))[:height, :width]
        for _ in range(3):
            value = (value + np.roll(value, 3, 0) + np.roll(value, 3, 1) + np.roll(value, (2, 2), (0, 1))) / 4
        value = value / value.std() + 0.35 * rng.standard_normal((height, width))
    elif kind == "vignette":
        value = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 1.5
    else:
        value = (np.sin((x + y) * np.pi / 4) * np.sin((x - y) * np.pi / 4) > 0.25).astype(np.float32)
    return value.astype(np.float32)[:, :, None]


def _finish(image: Image.Image, style: str, rng: np.random.Generator) -> Image.Image:
    from PIL import Image, ImageChops, ImageFilter, ImageOps

    size = image.size
    if style == "neon":
        glow = image.filter(ImageFilter.GaussianBlur(5))
        return ImageChops.screen(ImageChops.screen(image, glow), glow.point([int(0.5 * c) for c in range(256)] * 3))
    if style == "pixel":
        small = image.resize((size[0] // 4, size[1] // 4), Image.Resampling.BOX)
        small = small.point([min(255, (c // 43) * 51) for c in range(256)] * 3)
        return small.resize(size, Image.Resampling.NEAREST)
    pixels = np.asarray(image, np.float32)
    if style == "watercolor":
        pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1.6)), np.float32)
        sharp = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), np.float32)
        pixels = 0.5 * pixels + 0.5 * sharp - 0.9 * np.abs(pixels - sharp) + 3 * _texture("paper", size) + 3
    elif style == "ink":
        grey = ImageOps.autocontrast(image.convert("L").filter(ImageFilter.GaussianBlur(0.7)))
        value = np.asarray(grey, np.float32)[:, :, None] / 255
        value = np.clip(value + 0.025 * _texture("paper", size), 0, 1) ** 1.2
        pixels = np.array((34, 32, 30), np.float32) + value * np.array((208, 204, 188), np.float32)
    elif style == "film":
        pixels = pixels * np.array((1.05, 0.98, 0.92), np.float32) * (1.1 - _texture("vignette", size))
        pixels = (
            pixels + np.array((6, 8, 14), np.float32) + 9 * np.roll(_texture("grain", size), int(rng.integers(97)), 0)
        )
    elif style == "popart":
        dots = _texture("halftone", size)
        dark = pixels.mean(axis=2, keepdims=True) < 190
        pixels = np.where(dark & (dots > 0), pixels * 0.78, pixels)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
