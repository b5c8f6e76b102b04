"""Write docs/images/teach-*.jpg: the page that anybody can teach, as it looks when it has learned something.

    python -m scripts.teach_pictures

Drives Chromium as tests/test_teach_page.py does: three things before a camera, three words from clips.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from examples.teach.site import write_site
from PIL import Image
from playwright.sync_api import sync_playwright
from scripts.gallery import jpeg
from tests import test_teach_page as page_test
from tests.browser import serving
from tests.conftest import CHROMIUM_FLAGS, chromium_path
from tests.speech import speaker

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_BYTES = 110_000
WORDS = ("yes", "no", "stop")
VOICES = ("en-us", "en-gb", "en-us+f2", "en-gb+m3", "en-gb-scotland", "en-us+f4", "en-029", "en-gb+f3", "en-us+m5", "en-gb+f5")


def save(shot: bytes, name: str) -> None:
    """A screenshot as the best JPEG that is small enough."""
    made = jpeg(Image.open(io.BytesIO(shot)).convert("RGB"), MOST_BYTES)
    (IMAGES / f"teach-{name}.jpg").write_bytes(made)
    print(f"teach-{name}.jpg", len(made), "bytes")


def hold(page: Any, i: int, count: int) -> None:
    """Collect samples of a class from what the camera sees."""
    page.locator(".hold").nth(i).focus()
    page.keyboard.down(" ")
    page_test.until(page, f"document.querySelectorAll('.strip')[{i}].children.length >= {count}")
    page.keyboard.up(" ")


def settled(page: Any) -> None:
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(2, 2)
    page.wait_for_timeout(1500)
    page.evaluate("scrollTo(0, 0)")


def pictures(page: Any, site: Any) -> None:
    """Three photos before the camera."""
    cat, motorcycle, other = page_test.things()
    page_test.opened(page, site, "pictures")
    page_test.name_classes(page, ["Cup", "Cat", "Motorcycle"])
    for i, path in enumerate((page_test.photos.COFFEE.path(), cat, motorcycle)):
        page.evaluate("urls => showFrames(urls)", page_test.urls(page_test.frames(path, 30, i)))
        if not i:
            page.click("#start")
        page.wait_for_timeout(600)
        hold(page, i, 22)
    page_test.trained(page)
    page.evaluate("urls => showFrames(urls)", page_test.urls(page_test.frames(other, 1, 3)))
    settled(page)
    save(page.screenshot(), "pictures")
    page.evaluate("document.querySelector('#training').scrollIntoView()")
    page.evaluate("scrollBy(0, -16)")
    save(page.screenshot(), "training")
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("document.querySelector('#collect').scrollIntoView()")
    page.evaluate("scrollBy(0, -200)")
    page.wait_for_timeout(500)
    save(page.screenshot(), "phone")


def sounds(page: Any, site: Any, folder: Path) -> None:
    """Three words in several voices, in the dark."""
    say, rng = speaker(folder), np.random.default_rng(1)
    page.emulate_media(color_scheme="dark")
    page_test.opened(page, site, "sounds")
    page_test.name_classes(page, list(WORDS))
    for i, word in enumerate(WORDS):
        clips = [
            page_test.save_wav(
                folder / f"{word}-{k}.wav", np.pad(0.8 * say(word, "-v", voice), (int(rng.integers(800, 4000)), 3000))
            )
            for k, voice in enumerate(VOICES)
        ]
        page.locator(".class input[type=file]").nth(i).set_input_files(clips)
        page_test.until(page, f"document.querySelectorAll('.strip')[{i}].children.length === {len(VOICES)}")
    page_test.trained(page)
    page.click("#start")
    page_test.until(page, "document.querySelector('#stage.on')")
    page.evaluate("wav => say(wav)", page_test.base64.b64encode((folder / "stop-1.wav").read_bytes()).decode())
    settled(page)
    page_test.until(page, "teaching.likely.stop > 0.8")
    save(page.screenshot(), "sounds")


def main() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_site(folder / "site", stage=print)
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS)
        with serving(folder / "site") as site:
            size: Any = {"width": 1280, "height": 880}
            pictures(browser.new_page(viewport=size), site)
            sounds(browser.new_page(viewport=size), site, folder)
        browser.close()


if __name__ == "__main__":
    main()
