"""The page in a real browser: post a video, find it in the list, hide it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import Running
from tests.serve.test_media import EVEN, encoder_of, texts

__all__ = ["texts"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of this machine; skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright: pip install it")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium here: apt-get install chromium to test the page")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("width", [1200, 375])
def test_post_a_video_find_it_hide_it(browser: Any, serving: Callable[..., Running], looks, width: int, tmp_path: Path):
    running = serving()
    page = browser.new_page(viewport={"width": width, "height": 800})
    wrong: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(running.url)
    page.wait_for_selector("#list li")
    page.fill("#user", "0")
    page.click("#ask button")
    page.wait_for_selector("#about:has-text('trained')")
    page.fill("#video", "mine")
    page.fill("#title", "<b>Mine</b>")
    page.fill("#tags", "even")
    page.fill("#features", json.dumps(looks["even"]))
    page.click("#post > button")
    card = page.wait_for_selector("#list li[data-video=mine]")
    assert "<b>Mine</b>" in card.inner_text(), "a title is text, never markup"
    assert "which this user clicked" in card.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    cut = "[...document.querySelectorAll('button')].filter(b => b.scrollWidth > b.clientWidth).map(b => b.textContent)"
    assert page.evaluate(cut) == [], "every button's word is whole"
    assert not page.is_visible("#key"), "no key is asked for where none is needed"
    page.screenshot(path=str(tmp_path / "page.png"))
    page.click("#list li[data-video=mine] button:text-is('hide')")
    page.wait_for_selector("#list li[data-video=mine]", state="detached")
    assert "mine" not in running.videos("0", k=1000)
    assert wrong == []
    assert all(url.startswith((running.url, "data:")) for url in asked), "no link leads elsewhere"
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_post_a_text_and_find_the_video(
    browser: Any, serving: Callable[..., Running], texts: Path, width: int, tmp_path: Path
):
    running = serving(bundle=texts)
    assert running.client.get("/v1/models").json()["reads"] == {"text": "text"}
    page = browser.new_page(viewport={"width": width, "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(running.url)
    page.wait_for_selector("#media textarea[data-modality=text]")
    assert not page.is_visible("#features"), "numbers are for who asks for them"
    page.fill("#user", "0")
    page.fill("#video", "mine")
    page.fill("#title", "Mine")
    page.fill("#media textarea", EVEN)
    page.click("#post > button")
    page.wait_for_selector("#posted:has-text('being encoded')")
    assert encoder_of(running, texts).work() == 1
    page.wait_for_selector("#posted:has-text('can be recommended')")
    page.wait_for_selector("#list li[data-video=mine]")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
    kept = os.environ.get("MMGRAPH_SCREENSHOTS")
    if kept:
        page.screenshot(path=f"{kept}/page_{width}.png", full_page=True)
    assert wrong == []
    page.close()
