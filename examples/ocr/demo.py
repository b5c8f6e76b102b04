"""The demo behind `hither demo`: one photo, read by the same two networks here and in a browser tab.

The native half comes first and needs neither a browser nor a GPU. With a terminal attached, the page then opens in the user's
own browser; without one, headless Chromium reads the photo, and what both read is compared with what stands on it.
"""

from __future__ import annotations

import difflib
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hither.errors import HitherError
from hither.formats import load
from hither.models.ocr import PHOTO, networks
from hither.models.ocr.reader import Reading, read
from hither.program import compile
from hither.web.builds import bundle

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PAGE_SECONDS = 300
# Chromium has no WebGPU adapter on a machine without a GPU unless it is allowed a software one.
FLAGS = ["--no-sandbox", "--enable-unsafe-webgpu", "--disable-background-networking", "--disable-component-update"]

Say = Callable[[str], None]


class DemoError(HitherError, RuntimeError):
    """The demo cannot go on; says what is missing."""


def photo() -> Path:
    """The photo that is read when the user names none."""
    return PHOTO.path()


def expected() -> str:
    """The text on that photo."""
    return (HERE / "expected.txt").read_text().strip()


@dataclass
class Networks:
    """PP-OCRv4's two networks: natively, one program for each size that is needed, and as bundles."""

    stage: Say
    device: str = "cpu"
    compiling: float = 0.0  # seconds spent on it
    programs: dict[tuple[str, Any], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stage("fetching PP-OCRv4")
        detector, recogniser = load(networks.DETECTOR.path()), load(networks.RECOGNISER.path())
        self.characters = networks.characters(recogniser)
        self.functions = {"detector": networks.detect(detector), "recogniser": networks.recognise(recogniser)}
        self.specs = {
            "detector": dict(zip(networks.CANVASES, networks.detector_specs())),
            "recogniser": dict(zip(networks.LINE_WIDTHS, networks.recogniser_specs())),
        }

    def program(self, network: str, size: Any) -> Any:
        """A network for one size, compiled when it is first asked for."""
        if (network, size) not in self.programs:
            start = time.perf_counter()
            text = "x".join(map(str, size)) if isinstance(size, tuple) else str(size)
            self.stage(f"compiling the {network} for {text} pixels")
            self.programs[network, size] = compile(self.functions[network], self.specs[network][size], device=self.device)
            self.compiling += time.perf_counter() - start
            self.stage("reading")
        return self.programs[network, size]

    def read(self, picture: np.ndarray) -> Reading:
        """The text of a picture."""
        return read(
            picture, lambda size: self.program("detector", size), lambda size: self.program("recogniser", size), self.characters
        )

    def write_site(self, folder: Path, picture: Path) -> None:
        """The page with both bundles and the picture that it reads first: a folder for any static host."""
        for network, function in self.functions.items():
            self.stage(f"building the bundle of the {network}")
            bundle(function, folder / network, list(self.specs[network].values()), name=network)
        for file in (HERE / "page").iterdir():
            shutil.copyfile(file, folder / file.name)
        shutil.copyfile(picture, folder / "sample.png")
        (folder / "characters.json").write_text(json.dumps(self.characters, ensure_ascii=False, separators=(",", ":")))


def differences(name: str, text: str, wanted: str) -> list[str]:
    """How a text differs from the wanted one, line by line; nothing if it does not."""
    return list(difflib.unified_diff(wanted.splitlines(), text.splitlines(), "expected", name, lineterm="", n=0))


def serve_aside(folder: Path) -> str:
    """Serve `folder` from a thread until this process ends; returns the address."""
    from hither.web.server import serve

    said: queue.Queue[str | BaseException] = queue.Queue()

    def run() -> None:
        try:
            serve(folder, port=0, announce=said.put)
        except BaseException as error:
            said.put(error)

    threading.Thread(target=run, daemon=True, name="demo-server").start()
    first = said.get(timeout=30)
    if isinstance(first, BaseException):
        raise first
    return first


def _browser() -> str | None:
    """The system's Chromium; None lets Playwright use one of its own."""
    names = (os.environ.get("HITHER_CHROMIUM"), *BROWSERS)
    return next((path for name in names if name and (path := shutil.which(name))), None)


def drive(address: str, screenshot: Path) -> dict[str, Any]:
    """Let headless Chromium open the page and read its sample twice; returns what the page measured.

    Raises:
        DemoError: no Playwright, no browser, or the page failed; says how.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise DemoError("without a terminal the page is driven by Playwright: pip install 'hither[demo]'") from error
    executable = _browser()
    problems: list[str] = []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        except Error as error:
            hint = "install Chromium (apt-get install chromium) or set HITHER_CHROMIUM to its path"
            raise DemoError(f"no browser for the page: {str(error).splitlines()[0]}; {hint}") from error
        with browser:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.on("pageerror", lambda e: problems.append(str(e)))
            page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
            requests: list[str] = []
            try:
                page.goto(address)
                page.wait_for_function(
                    "globalThis.reading?.lines || document.querySelector('#phase.error')", timeout=PAGE_SECONDS * 1000
                )
                if page.evaluate("globalThis.reading.lines") is None:
                    raise DemoError(f"the page could not load: {page.inner_text('#phase')}")
                page.on("request", lambda r: requests.append(r.url) if r.url.startswith("http") else None)
                page.evaluate("reading.times = null")
                page.click("#sample")  # warm, and with every request that it makes counted from outside as well
                page.wait_for_function("reading.times", timeout=PAGE_SECONDS * 1000)
                state: dict[str, Any] = page.evaluate("reading")
                page.screenshot(path=screenshot)
            except Error as error:
                page.screenshot(path=screenshot)
                raise DemoError(f"the page failed ({'; '.join(problems) or error}); see {screenshot}") from error
    if problems:
        raise DemoError(f"the page reported {'; '.join(problems)}; see {screenshot}")
    state["requests"] = max(state["requests"], len(requests))
    return state
