"""`hither demo`: the main job on real input: read the text of a photo here, then in a browser tab.

What is shown lives in examples/ocr, as an example of its own; this command prints it and decides where the page opens.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import webbrowser
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from .examples import example

NAME = "demo"


def demo_command(
    picture: Annotated[Path | None, typer.Argument(help="A picture of your own; a photo of a page by default.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where the page is built.")] = None,
    device: Annotated[str, typer.Option(help="What reads natively: cpu or webgpu.")] = "cpu",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 takes a free one.")] = 0,
    headless: Annotated[
        bool | None,
        typer.Option(
            "--headless/--browser", help="Headless Chromium, or your own browser; by default, whether a terminal is attached."
        ),
    ] = None,
) -> None:
    """Read the text of a photo natively, then from a page that runs the same networks in the browser."""
    from ..media import read_image
    from ..runtime.object_cache import cache_directory
    from . import report

    demo = _example()
    folder = output or cache_directory() / "demo" / "ocr"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = demo.expected() if picture is None else None
    with report.stages() as stage:
        stage("fetching a photo")
        path = picture or demo.photo()
        pixels = read_image(path)
        networks = demo.Networks(stage, device)
        networks.read(pixels)  # compiles what this picture needs
        warm = networks.read(pixels)
    report.out.print(f"\n{path.name}, {pixels.shape[1]}x{pixels.shape[0]}, read on {device}:\n", style="bold")
    report.out.print(warm.text or "(no text found)")
    _times({"compile, once": networks.compiling, **warm.seconds})
    wrong = [] if wanted is None else demo.differences("native", warm.text, wanted)

    start = time.perf_counter()
    with report.stages() as stage:
        networks.stage = stage
        networks.write_site(folder, path)
    report.out.print(f"\npage built in {report.duration(time.perf_counter() - start)}: {folder}", style="bold")
    if headless is None:
        headless = not (sys.stdin.isatty() and sys.stdout.isatty())
    if headless:
        wrong += _drive(demo, folder, warm.text if wanted is None else wanted)
    for line in wrong:
        report.err.print(line, style="red")
    if wrong:
        raise typer.Exit(1)
    if not headless:
        _open(folder, port)


def _times(seconds: dict[str, float]) -> None:
    from . import report

    shown = report.table("", "stage", "time", right=("time",))
    for stage, spent in seconds.items():
        shown.add_row(stage, report.duration(spent))
    report.out.print(shown)


def _drive(demo: Any, folder: Path, wanted: str) -> list[str]:
    """Read the picture with headless Chromium and show what it read; returns how that differs from `wanted`."""
    from . import report

    screenshot = folder / "screenshot.png"
    with report.stages() as stage:
        stage("reading with the page in headless Chromium")
        page = demo.drive(demo.serve_aside(folder), screenshot)
    text = "\n".join(line["text"] for line in page["lines"])
    report.out.print(f"\nread in Chromium on {page['device']} ({page['why']}):\n", style="bold")
    report.out.print(text or "(no text found)")
    _times({stage: ms / 1000 for stage, ms in page["times"].items()} | {"first result": page["firstResult"] / 1000})
    downloaded = ", ".join(f"{kind} {report.size(n)}" for kind, n in page["downloaded"].items())
    report.out.print(f"downloaded {downloaded}; resident {report.size(page['resident'])}")
    report.out.print(f"requests since load: {page['requests']}")
    report.out.print(f"screenshot: {screenshot}")
    wrong: list[str] = demo.differences("page", text, wanted)
    if page["requests"]:
        wrong.append(f"the page made {page['requests']} requests while it read; expected none")
    return wrong


def _open(folder: Path, port: int) -> None:
    """Serve the page and open it in the user's browser, until interrupted."""
    from ..web.server import serve
    from . import report

    def announce(address: str) -> None:
        report.out.print(f"\n{address}  (stop with Ctrl-C)", style="bold")
        if not webbrowser.open(address):
            report.out.print("Open this address in a browser.", style="dim")

    serve(folder, port, announce=announce)


def _example() -> ModuleType:
    """The package examples/ocr, which is no part of hither's own."""
    spec = importlib.util.spec_from_file_location("hither_example_ocr", example("ocr") / "__init__.py")
    assert spec is not None and spec.loader is not None
    package = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{spec.name}.demo")
