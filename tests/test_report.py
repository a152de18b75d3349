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
    Column,
    Curve,
    Map,
    ModalityFacts,
    Pick,
    Point,
    Report,
    Row,
    Table,
    Viewer,
    drawing,
    jpeg_uri,
    render_report,
    sound_uri,
    sprite_uri,
    ticks,
    write_report,
)

Image = pytest.importorskip("PIL.Image")
NASTY = '</script><script>alert("x")</script>'


def _report() -> Report:
    picture = jpeg_uri(Image.new("RGB", (30, 40), (200, 30, 90)))
    sound = sound_uri((8000 * np.sin(np.arange(16_000) / 10)).astype(np.int16), 16_000)
    clip = Clip(f"A cat {NASTY}", image=picture, sound=sound)
    picks = [
        Pick(clip, [Because("visual", "with a kitten", 0.9, Clip("a kitten", image=picture))], ["new"]),
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
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:[^\"')]*", "", text))
    (policy,) = [tag for tag in page.of("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy["content"])
    assert len(page.of("script")) == 2, "the page's own script and the map's data"
    assert 'alert("x")</script>' not in text


def test_bold_is_the_highest_value_as_printed_whatever_the_row_and_never_the_ceiling() -> None:
    rows = [
        Row("Truth", "", "ceiling", (0.9, 0.5)),
        Row("Ours", "", "model", (0.2, 0.3)),
        Row("EASE", "", "baseline", (0.3001, 0.1)),
        Row("ItemKNN", "", "baseline", (0.3002, None)),
    ]
    table = Table((Column("All"), Column("New in lists", share=True, best=False)), rows)
    text = render_report(Report("t", "l", [], table))
    assert re.findall(r"<b>([\d.%]+)</b>", text) == ["0.300", "0.300"]
    assert "30.0%" in text


def test_a_part_that_is_empty_has_no_section_and_no_line_in_the_contents() -> None:
    page = _Elements(render_report(Report("t", "l", [], Table(["All"], [Row("Ours", "", "model", [0.1])]))))
    assert [tag["id"] for tag in page.of("section")] == ["results"]
    assert [tag["href"] for tag in page.of("a")] == ["#results", "#results"]
    assert page.of("body", "plain"), "without a picture there are no empty frames"
    assert not _Elements(render_report(_report())).of("body", "plain")
    whole = _Elements(render_report(_report()))
    anchors = {(tag["href"] or "").removeprefix("#") for tag in whole.of("a")}
    assert anchors == {tag["id"] for tag in whole.of("section")}


def test_the_page_says_what_needs_javascript() -> None:
    assert "need it" in re.search(r"<noscript>(.*?)</noscript>", render_report(_report()), re.S).group(1)  # type: ignore


def test_write_report_makes_the_folder(tmp_path: Path) -> None:
    path = write_report(_report(), tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8") == render_report(_report())


def test_a_drawing_puts_high_values_high_and_leaves_out_what_is_not_a_number() -> None:
    drawn = drawing(Curve("Recall <1>", [0, 5, 10], [0.1, float("nan"), 0.3], best=10))
    (x0, y0), (x1, y1) = drawn.points
    assert x1 > x0
    assert y1 < y0, "SVG's y grows downwards"
    assert drawn.best == (x1, y1)
    assert [label for _, label in drawn.ys] == ["0.10", "0.15", "0.20", "0.25", "0.30"]
    assert [label for _, label in drawn.xs] == ["0", "2", "4", "6", "8", "10"]
    assert "0.3 at the best, epoch 10" in drawn.summary
    places = dict((label, place) for place, label in drawn.ys)
    assert places["0.10"] == y0, "an axis says where the line is"
    assert places["0.30"] == y1
    assert drawing(Curve("Empty", [0], [float("inf")])).points == ()


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.31, 0.34), (7, 7), (0, 0), (-3, 12), (1e-9, 3e-9), (-2e6, -1e6), (0.0973, 0.1334)]
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low <= high <= found[-1]
    assert len(found) <= 6
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
    mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - each) for each in (1, 2, 5)) < 1e-6


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


def test_the_map_is_walked_by_keyboard(tmp_path: Path) -> None:
    page = write_report(_report(), tmp_path / "report.html")
    # Points lie at x = 0..4; from wherever it begins, arrows to the left end at the first, to the right at the last.
    script = """<script>
      const svg = document.querySelector(".map svg"), said = [];
      const press = (key) => svg.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
      const note = () => said.push(document.getElementById("map-said").textContent.split(",")[0].slice(0, 7));
      svg.focus(); press("ArrowRight"); note();
      for (let i = 0; i < 5; i++) press("ArrowLeft");
      note();
      for (let i = 0; i < 5; i++) press("ArrowRight");
      note(); press("Escape"); note();
      document.documentElement.dataset.said = said.join("|");
    </script>"""
    text = page.read_text(encoding="utf-8").replace("</body>", script + "</body>")
    page.write_text(text, encoding="utf-8")
    dom, log = open_in_chromium(page, tmp_path / "profile")
    assert "CONSOLE" not in log
    begun, *rest = str(_Elements(dom).of("html")[0]["data-said"]).split("|")
    assert begun.startswith("video ")
    assert rest == ["video 0", "video 4", ""]


def test_a_broken_script_would_be_noticed(tmp_path: Path) -> None:
    page = write_report(_report(), tmp_path / "report.html")
    text = page.read_text(encoding="utf-8").replace("</body>", "<script>undefinedFunction()</script></body>")
    page.write_text(text, encoding="utf-8")
    assert "CONSOLE" in open_in_chromium(page, tmp_path / "profile")[1]
