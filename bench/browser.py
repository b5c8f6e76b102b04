"""Browser: hither and its peers, alternating in one Chromium page; cold starts in a fresh profile each.

A page has one count of WASM threads, because the peers fix theirs when they load. Every engine's GPU calls are counted by
the same patch (web/runner.js), and every timed run ends with the results in the page's own memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tests.conftest import CHROMIUM_FLAGS, chromium_path

from . import measure, site
from .converted import Converted
from .nets import ROOT, Net

# (name in the report, module in web/engines); ours first
ENGINES = (
    ("hither", "hither"),
    ("onnxruntime-web", "onnxruntime"),
    ("tfjs", "tfjs"),
    ("jax-js", "jaxjs"),
    ("LiteRT.js", "litert"),
)
SHARE_MS = 300.0
SLOW_MS = 5000.0  # a contestant that takes this long once is reported by its first runs and leaves the alternation
TIMEOUT_S = 600
SETTLE_MS = 1200  # a new window loads pages of the browser's own, some 300 ms of CPU, which are not what is measured


def versions(browser: Any) -> dict[str, str]:
    """Of Chromium and of the pinned packages."""
    pinned = json.loads((ROOT / "bench" / "js" / "package.json").read_text())["dependencies"]
    return {"Chromium": browser.version, **pinned}


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        raise RuntimeError("no Chromium: install the package chromium, or set HITHER_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(browser: Any) -> Iterator[Any]:
    """A page in a profile of its own."""
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_S * 1000)
    try:
        yield context.new_page()
    finally:
        context.close()


def steady(
    browser: Any, served: site.Served, net: Net | Converted, target: str, threads: int, rounds: int,
    engines: Sequence[tuple[str, str]] = ENGINES,
) -> dict[str, Any]:  # fmt: skip
    """Times of all contestants on one net in one page, each checked against the expected answers first."""
    record: dict[str, Any] = {**measure.conditions(), "contestants": {}, "skipped": {}}
    with page_of(browser) as page:
        page.goto(f"{served.origin}/web/page.html")
        page.wait_for_function("globalThis.bench && crossOriginIsolated")
        page.evaluate("(base) => bench.open(base)", f"/nets/{net.name}/")
        for name, engine in engines:
            try:
                made = page.evaluate(
                    "([name, engine, options, floor]) => bench.add(name, engine, options, floor)",
                    [name, engine, {"target": target, "threads": threads}, measure.FLOOR],
                )
                if made["error"] is None or made["error"] > measure.TOLERANCE:
                    page.evaluate("(name) => bench.remove(name)", name)
                    raise measure.Disagreement(f"its answer is wrong by {made['error']} of the largest magnitude")
            except Exception as error:
                if name == "hither":
                    raise
                record["skipped"][name] = reason(error)
                continue
            record["contestants"][name] = made
            if target == "webgpu":
                made["counts"] = page.evaluate("(name) => bench.counts(name)", name)
            elif made["first_ms"] > SLOW_MS and name != "hither":
                made.update(measure.summary([made["first_ms"] / 1e3]))
                page.evaluate("(name) => bench.remove(name)", name)
        share = 0 if target == "webgpu" else SHARE_MS  # a software adapter takes seconds: single runs
        times = page.evaluate("([rounds, share]) => bench.alternate(rounds, share)", [rounds, share])
    for name, ms in times.items():
        record["contestants"][name].update(measure.summary(np.asarray(ms) / 1e3))
    record["load_after"] = round(os.getloadavg()[0], 2)
    return record


def reason(error: Exception) -> str:
    """The line of an engine's complaint that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].removeprefix("Page.evaluate: ").removeprefix("Error: ")[:160] if lines else type(error).__name__


def cold(browser: Any, served: site.Served, net: Net, target: str, threads: int, times: int) -> dict[str, Any]:
    """From navigation to the first result with an empty cache, engine by engine in turns; and the bytes fetched for it."""
    record: dict[str, Any] = {**measure.conditions(), "contestants": {}, "skipped": {}}
    starts: dict[str, list[dict[str, float]]] = {}
    for _ in range(times):
        for name, engine in ENGINES:
            if name in record["skipped"] or name == "jax-js":  # jax-js takes seconds for a run, loading aside
                continue
            query = f"engine={engine}&net=/nets/{net.name}/&target={target}&threads={threads}"
            served.requests.clear()
            with page_of(browser) as page:
                page.wait_for_timeout(SETTLE_MS)
                with page.expect_console_message(lambda m: m.text == "measured", timeout=TIMEOUT_S * 1000):
                    page.goto(f"{served.origin}/nets/{net.name}/cold-{engine}.html?{query}")
                found = page.evaluate("globalThis.result")
            if "error" in found:
                if name == "hither":
                    raise RuntimeError(f"cold start: {found['error']}")
                record["skipped"][name] = found["error"][:160]
                continue
            starts.setdefault(name, []).append(found)
            record["contestants"][name] = {
                "fetched": served.weigh(served.requests),
                "requests": len(set(served.requests)),
                "phases": found["phases"],
            }
    for name, found in starts.items():
        for key in ("ready_ms", "result_ms"):
            record["contestants"][name][key] = round(float(np.median([f[key] for f in found])), 1)
    return record


def adapter(browser: Any, served: site.Served) -> str:
    """What the page's WebGPU runs on."""
    with page_of(browser) as page:
        page.goto(f"{served.origin}/web/page.html")
        return str(
            page.evaluate(
                """async () => {
                  const info = (await navigator.gpu?.requestAdapter())?.info;
                  return info ? [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") : "none";
                }"""
            )
        )


def peers_installed() -> bool:
    """Whether scripts/node.sh has put the pinned packages there."""
    return Path(site.PEERS, "onnxruntime-web").is_dir()
