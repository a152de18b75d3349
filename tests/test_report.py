"""The report page: self-contained, escaped, complete, and alive in a real browser."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import wave
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mmgraph.report import (
    Because,
    Clip,
    Curve,
    Map,
    ModalityFacts,
    Pick,
    Point,
    Report,
    Row,
    Table,
    Viewer,
    jpeg_uri,
    line_chart,
    render_report,
    sound_uri,
    sprite_uri,
    write_report,
)

Image = pytest.importorskip("PIL.Image")
NASTY = '</script><script>alert("x")</script>'


def _report() -> Report:
    picture = jpeg_uri(Image.new("RGB", (30, 40), (200, 30, 90)))
    sound = sound_uri((8000 * np.sin(np.arange(16_000) / 10)).astype(np.int16), 16_000)
    clip = Clip(f"A cat {NASTY}", image=picture, sound=sound)
    picks = [
        Pick(clip, [Because("look", "with a kitten", 0.9, Clip("a kitten", image=picture))], ["new"]),
        Pick(Clip("没有图片的视频"), [Because("co-watched", "by 7 people", 1.7)]),
    ]
    points = [Point(float(i), float(i % 3), i % 2, i == 4, f"video {i} {NASTY}") for i in range(5)]
    return Report(
        title="A test & report",
        lead="Made for a test.",
        figures=[("5", "videos", "few")],
        viewers=[Viewer(f"User {i}", "30, f", ["cats"], [clip, clip], picks) for i in range(3)],
        table=Table(
            ("All", "New"), [Row("Ceiling", "", "ceiling", (0.5, 0.4)), Row("Ours", "", "model", (0.25, None))]
        ),
        curves=[Curve("Loss", [0, 1, 2], [3.0, 2.0, float("nan")], best=1)],
        map=Map(points, ["cats", "cars"], sprite_uri([Image.new("RGB", (9, 9))] * 5, 3, (12, 16)), 3, (12, 16)),
        modalities=[ModalityFacts("visual", "a hash", 0.75, {"width": "8"}, ["looks like noise"])],
        footer=["the end"],
    )


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def of(self, tag: str, name: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.found if t == tag and (not name or name in (a.get("class") or "").split())]


def test_everything_given_is_on_the_page() -> None:
    page = _Elements(render_report(_report()))
    assert len(page.of("article", "viewer")) == 3
    assert len(page.of("div", "pick")) == 6
    assert len(page.of("div", "clip")) == 6
    assert len(page.of("circle")) == 5 + 1, "five videos on the map and the best epoch"
    assert len(page.of("circle", "new")) == 1
    assert len(page.of("div", "modality")) == 1
    assert [tag["class"] for tag in page.of("tr") if "class" in tag] == ["ceiling", "model"]
    sections = {tag["id"] for tag in page.of("section")}
    assert sections == {"results", "viewers", "map", "training", "modalities"}
    # Bars: half of the ceiling is drawn half as wide, and a strength is held to [0, 1].
    styles = [tag.get("style") for tag in page.of("i")]
    assert "--w:50.0%" in styles
    assert "--s:90%" in styles
    assert "--s:100%" in styles


def test_nothing_is_fetched_and_no_title_becomes_markup() -> None:
    text = render_report(_report())
    page = _Elements(text)
    for _, attributes in page.found:
        for name in ("src", "href", "data-sound"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:[^\"')]*", "", text))
    assert "default-src 'none'" in text
    assert len(page.of("script")) == 2, "the page's own script and the map's data"
    assert 'alert("x")</script>' not in text


def test_write_report_makes_the_folder(tmp_path: Path) -> None:
    path = write_report(_report(), tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8") == render_report(_report())


def test_line_chart_puts_high_values_high_and_leaves_out_what_is_not_a_number() -> None:
    drawn = line_chart(Curve("Recall <1>", [0, 5, 10], [0.1, float("nan"), 0.3], best=10))
    (points,) = re.findall(r'points="([^"]*)"', drawn)
    (x0, y0), (x1, y1) = (tuple(map(float, p.split(","))) for p in points.split())
    assert x1 > x0
    assert y1 < y0, "SVG's y grows downwards"
    assert re.search(rf'class="best" cx="{x1}" cy="{y1}"', drawn)
    assert "Recall &lt;1&gt;" in drawn
    assert "polyline" not in line_chart(Curve("empty", [], []))


def test_sprite_holds_each_picture_in_its_tile() -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    uri = sprite_uri([Image.new("RGB", (40, 40), c) for c in colours] + [None], 2, (16, 24))
    sheet = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert sheet.size == (32, 48)
    for at, colour in enumerate([*colours, (128, 128, 136)]):
        pixel = sheet.getpixel((at % 2 * 16 + 8, at // 2 * 24 + 12))
        assert max(abs(a - b) for a, b in zip(pixel, colour)) < 25


def test_sound_uri_keeps_the_tune_at_half_the_rate() -> None:
    seconds = np.arange(32_000) / 16_000
    uri = sound_uri((20_000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16), 16_000, seconds=1.0)
    with wave.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnframes()) == (8000, 1, 8000)
        samples = np.frombuffer(file.readframes(8000), np.uint8).astype(float) - 128
    assert np.abs(np.fft.rfft(samples)).argmax() == 440


def find_chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no chromium on PATH")


def open_in_chromium(page: Path, profile: Path, window: str = "1280,900") -> tuple[str, str]:
    """The page's elements after its script ran, and what the browser logged."""
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --v=0 --virtual-time-budget=3000"
    done = subprocess.run(
        [
            find_chromium(),
            *flags.split(),
            f"--user-data-dir={profile}",
            f"--window-size={window}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return done.stdout, done.stderr


def test_it_lives_in_a_browser_without_console_errors(tmp_path: Path) -> None:
    page = write_report(_report(), tmp_path / "report.html")
    # A click on a legend entry, from inside: the page's own script must dim the other videos.
    text = page.read_text(encoding="utf-8").replace(
        "</body>", "<script>document.querySelector('.legend button').click()</script></body>"
    )
    page.write_text(text, encoding="utf-8")
    dom, log = open_in_chromium(page, tmp_path / "profile")
    assert "CONSOLE" not in log
    elements = _Elements(dom)
    assert elements.of("html")[0].get("data-ready") == "yes", "the script ran to its end"
    assert elements.of("svg", "dim")
    assert len(elements.of("circle", "on")) == 3
    assert elements.of("button")[-2]["aria-pressed"] == "true"


def test_a_broken_script_would_be_noticed(tmp_path: Path) -> None:
    page = write_report(_report(), tmp_path / "report.html")
    text = page.read_text(encoding="utf-8").replace("</body>", "<script>undefinedFunction()</script></body>")
    page.write_text(text, encoding="utf-8")
    assert "CONSOLE" in open_in_chromium(page, tmp_path / "profile")[1]
