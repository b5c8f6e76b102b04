"""Fixtures that hand a test the outside world: a WebGPU adapter, headless Chromium, Node, the TypeScript compiler.

Where one is missing a test skips, except under HITHER_STRICT=1 (`make test`), where it fails: a suite that skips what
it cannot check proves nothing. Tests are marked gpu, browser and node by the fixtures they ask for, so `make quick` can
leave them out, and tests that use the browser are kept in one xdist worker, so that one browser serves them all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
STRICT = os.environ.get("HITHER_STRICT") == "1"

# Compiling and drawing take as long as they take on a busy machine: a deadline per example, or the check that drawing is fast,
# would only measure the neighbours.
hypothesis.settings.register_profile(
    "hither", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("hither")

_MARK_OF_FIXTURE = {"adapter": "gpu", "chromium": "browser", "node": "node", "tsc": "node"}
_FIXTURE_OF_MARK = {"gpu": "adapter", "browser": "chromium", "node": "node"}

CHROMIUM_FLAGS = [
    "--no-sandbox",  # containers and CI have no user namespaces for it; the pages are our own
    "--enable-unsafe-webgpu",  # without a GPU, Chromium offers its software adapter only under this flag
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        for fixture, mark in _MARK_OF_FIXTURE.items():
            if fixture in fixtures:
                item.add_marker(mark)
        for mark, fixture in _FIXTURE_OF_MARK.items():
            # A test that only carries the mark asks for the same thing, and must skip or fail in the same words.
            if item.get_closest_marker(mark) and fixture not in fixtures:
                fixtures.insert(0, fixture)
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        _starts.update({g: g.bit_generator.state for g in vars(module).values() if isinstance(g, np.random.Generator)})


_starts: dict[np.random.Generator, Any] = {}  # of the generators that modules' tests draw from


@pytest.fixture(autouse=True)
def _own_numbers(request: pytest.FixtureRequest) -> None:
    """A test's random numbers do not depend on which tests this process has run before."""
    for value in vars(request.module).values():
        if isinstance(value, np.random.Generator):
            value.bit_generator.state = _starts[value]


def missing(what: str) -> NoReturn:
    """Skip the test for want of `what`, or fail it when the run is strict."""
    if STRICT:
        pytest.fail(f"{what} (HITHER_STRICT=1: what is missing fails)", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def adapter() -> Any:
    """A WebGPU adapter through wgpu, hardware or software."""
    import wgpu

    try:
        return wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError as error:
        missing(f"no WebGPU adapter: install a Vulkan driver (mesa-vulkan-drivers libvulkan1): {error}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running headless Chromium (playwright's Browser), one per worker, with WebGPU on its software adapter."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        missing("no Chromium: install the package chromium, or set HITHER_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A fresh page with storage of its own. An error that the page itself does not handle fails the test."""
    from tests.browser import PAGES

    context = chromium.new_context()
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    with ExitStack() as closed:
        PAGES.append(closed)
        yield tab
        PAGES.remove(closed)
        context.close()
    if errors:
        pytest.fail("uncaught in the page:\n  " + "\n  ".join(errors), pytrace=False)


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node 20 or newer."""
    path = shutil.which("node")
    if path is None:
        missing("no Node: run scripts/node.sh, or install Node.js 20 or newer")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        missing(f"Node {version} is too old: run scripts/node.sh, or install Node.js 20 or newer")
    return path


@pytest.fixture(scope="session")
def tsc(node: str) -> list[str]:
    """The command that runs TypeScript's checker; type packages lie beside it, in tests/js/node_modules."""
    script = ROOT / "tests" / "js" / "node_modules" / "typescript" / "bin" / "tsc"
    if not script.is_file():
        missing("no TypeScript in tests/js/node_modules: run scripts/node.sh")
    return [node, str(script)]


@pytest.fixture(scope="session")
def check_page(tsc: list[str]) -> Callable[[Path, Sequence[str], str], None]:
    """(folder of a page's scripts, names of those to check, folder in which a built site has the loader): `tsc --checkJs`."""
    options = {
        "checkJs": True, "allowJs": True, "noEmit": True, "strict": True, "skipLibCheck": True, "target": "esnext",
        "module": "esnext", "moduleResolution": "bundler", "lib": ["esnext", "dom", "dom.iterable"],
    }  # fmt: skip

    def check(folder: Path, files: Sequence[str], loader: str) -> None:
        shutil.copytree(ROOT / "src" / "hither" / "web" / "runtime", folder / loader)
        (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": list(files)}))
        done = subprocess.run([*tsc, "-p", str(folder)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout

    return check


def chromium_path() -> str | None:
    """The system's Chromium: HITHER_CHROMIUM, else the usual names; the order of scripts/system_packages.sh."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    for name in (os.environ.get("HITHER_CHROMIUM"), *names):
        if name and (path := shutil.which(name)):
            return path
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    return str(mac) if mac.exists() else None


@pytest.fixture(scope="session")
def say(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(text, options of espeak-ng) → samples at 16 kHz."""
    from .speech import speaker, speaks

    if not speaks():
        missing("espeak-ng is taken from Debian's packages for x86_64 Linux")
    return speaker(tmp_path_factory.mktemp("espeak"))


@pytest.fixture(scope="session")
def affine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of tests.bundles.affine."""
    from .bundles import make_affine

    folder = tmp_path_factory.mktemp("bundles") / "affine"  # a model is named after its folder
    make_affine(folder)
    return folder


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with several segments of weights."""
    from .bundles import make_large

    folder = tmp_path_factory.mktemp("large")
    make_large(folder)
    return folder


@pytest.fixture(scope="session")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with state."""
    from .bundles import make_counter

    folder = tmp_path_factory.mktemp("counter")
    make_counter(folder)
    return folder


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that trains: hither-fit.js's `fit` finds a line."""
    from .bundles import make_line

    folder = tmp_path_factory.mktemp("line") / "b"
    make_line(folder)
    return folder


@pytest.fixture
def copy(affine: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(affine, tmp_path / "bundle"))
