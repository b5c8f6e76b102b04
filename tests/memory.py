"""Memory over a long time: ten thousand operations, inferences and training steps, two hundred programs loaded and dropped.

`python -m tests.memory` (`make memory`) writes docs/memory.md and fails if anything grows. The suite has the same in small
(tests/test_memory.py, tests/test_memory_pages.py).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .browser import serving
from .bundles import make_affine, make_large
from .conftest import CHROMIUM_FLAGS, ROOT, chromium_path
from .flatness import KINDS
from .page_memory import OPTIONS, cycles, make_training, repeats

REPORT = ROOT / "docs" / "memory.md"
SLACK = 4 << 20  # bytes that a process may have more after ten thousand repetitions: allocators are not exact
BUNDLES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "affine": (make_affine, "{ x: new Float32Array(6), n: [3, -4] }"),
    "large": (make_large, "{ x: new Float32Array(700) }"),
    "training": (make_training, "{ x: new Float32Array(128).fill(1) }"),
}
CHILD = "from tests.flatness import repeat; print(*[x for x in repeat({kind!r}, {device!r}, {times}, before=1000)], sep='\\n')"


def native(times: int) -> Iterator[tuple[list[str], bool]]:
    """Rows of the report, and whether each is flat; every measurement has a process of its own."""
    for device in ("cpu", "webgpu"):
        for kind in KINDS:
            script = CHILD.format(kind=kind, device=device, times=times)
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
            first, last, had, has = done.stdout.strip().splitlines()[-4:]
            grown = int(has) - int(had)
            flat = first == last and grown < SLACK
            said = "as before" if first == last else f"{first} → {last}"
            yield [kind, device, f"{times:,}", said, f"{grown / 1024:+,.0f} KiB"], flat


@contextmanager
def pages() -> Iterator[tuple[Callable[[], Any], str]]:
    """A browser, as a function that gives a fresh page on a site of the bundles, and where they are."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, (make, _) in BUNDLES.items():
            make(root / name)
        (root / "blank.html").write_text("<!doctype html><title>memory</title><link rel=icon href=data:,>")
        with serving(root) as site, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_FLAGS)

            def page() -> Any:
                tab = browser.new_context().new_page()
                tab.set_default_timeout(0)
                tab.goto(f"{site.origin}/blank.html")
                return tab

            yield page, site.origin
            browser.close()


def browsed(times: int) -> Iterator[tuple[list[str], bool]]:
    """Runs and training steps in a page: what is made meanwhile."""
    with pages() as (page, origin):
        for kind, name in (("inference", "large"), ("training", "training")):
            for label, options in OPTIONS.items():
                tab = page()
                got = repeats(tab, f"{origin}/{name}/", BUNDLES[name][1], options, times)
                made = {k: got["after"][k] - n for k, n in got["before"].items()}
                flat = not any(made.values()) and got["then"] == got["held"]
                said = "nothing" if flat else str(made)
                yield [kind, label, f"{times:,}", said, "as before" if got["then"] == got["held"] else str(got["then"])], flat
                tab.context.close()


def dropped(times: int) -> Iterator[tuple[list[str], bool]]:
    """Programs loaded and dropped without close()."""
    with pages() as (page, origin):
        for name in ("affine", "large"):
            for label, options in OPTIONS.items():
                for inside in (False, True):
                    if inside and "worker" in label:
                        continue
                    tab = page()
                    got = cycles(tab, f"{origin}/{name}/", BUNDLES[name][1], options, times, in_worker=inside)
                    most = max(got["most"], got["gpu"]) / got["one"]
                    where = "a worker of the page" if inside else "the page"
                    yield [name, label, where, f"{times:,}", f"{got['one']:,}", f"{most:.2f}"], most <= 3
                    tab.context.close()


def table(head: list[str], rows: Iterator[tuple[list[str], bool]]) -> tuple[str, bool]:
    """A Markdown table, and whether all its rows are as they should be; rows are shown as they come."""
    lines, good = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"], True
    for cells, fine in rows:
        lines.append(f"| {' | '.join(cells)} |")
        good &= fine
        print(lines[-1], "" if fine else "← not flat", flush=True)
    return "\n".join(lines), good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10_000, help="repetitions of operations, inferences and steps")
    parser.add_argument("--cycles", type=int, default=200, help="programs loaded and dropped in a page")
    options = parser.parse_args()
    here, fine = table(["what", "device", "times", "ht.memory()", "resident set"], native(options.times))
    there, good = table(["what", "device", "times", "made meanwhile", "memory()"], browsed(options.times))
    cycled, kept = table(
        ["bundle", "device", "where", "loads", "bytes of one program", "most held, in programs"], dropped(options.cycles)
    )
    REPORT.write_text(
        f"""# Memory

Written by `make memory`. Nothing here needs `tidy`, `dispose` or a forced collection.

## Here

Many times the same, in a process of its own, after a thousand to warm up. `ht.memory()` is what hither holds on the device, the
resident set is the whole process.

{here}

## In a page

Headless Chromium, WebGPU on its software adapter. Counted: GPU buffers, bind groups, WebAssembly memories and Workers that the
page makes while the program runs; of programs in a Worker, what the loader says they hold.

{there}

## Dropped programs

A page loads a bundle, runs it, and forgets it, without `close()`. Held is the most at any time, by the loader's `memory()` and
by counting `createBuffer` and `destroy`. Before a load takes memory, the loader has dropped programs collected: it allocates
`ArrayBuffer`s that are never touched, which the collector does feel, and lets finalizers run: some 10 ms when there is
something to collect.

{cycled}
"""
    )
    if not (fine and good and kept):
        raise SystemExit("something grows; see above")


if __name__ == "__main__":
    main()
