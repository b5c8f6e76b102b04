"""Timing that a shared machine cannot spoil: contestants take turns, and what else the machine did is written down."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 2e-3  # of an output's largest magnitude: float32 sums in another order, not another network

FLOOR = 1e-3  # a detector that finds nothing says 2e-5 everywhere; peers' exponentials differ by 1e-7 there

Outputs = Mapping[str, np.ndarray]


class Disagreement(AssertionError):
    """Two contestants computed different things, so comparing their times would mean nothing."""


def alternate(run: Mapping[str, Callable[[], Any]], rounds: int, share: float = 0.15) -> dict[str, list[float]]:
    """Seconds of single runs. In each round every contestant runs in turn, in rotating order, about `share` seconds each.

    The first fifth of a turn (one run at least) is not counted: it brings the contestant's data back into the caches, and
    outlasts the spinning of the thread pool that ran before it. A run longer than a turn is its own warm-up. web/runner.js
    does the same in a page.
    """
    names = list(run)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            call, start = run[name], time.perf_counter()
            if not times[name] or times[name][-1] < share:
                call()
                while time.perf_counter() < start + share / 5:
                    call()
            while True:
                begin = time.perf_counter()
                call()
                end = time.perf_counter()
                times[name].append(end - begin)
                if end > start + share:
                    break
    return times


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Milliseconds: min, median, 90th percentile; and how many runs."""
    ms = np.asarray(seconds) * 1e3
    values = {"min": ms.min(), "median": np.median(ms), "p90": np.percentile(ms, 90)}
    return {**{name: round(float(value), 4) for name, value in values.items()}, "runs": len(ms)}


def difference(found: Outputs, reference: Outputs) -> float:
    """The largest difference of any output, relative to that output's largest magnitude (or FLOOR)."""
    worst = 0.0
    for name, expected in reference.items():
        got, expected = np.asarray(found[name], np.float64), np.asarray(expected, np.float64)
        if got.size != expected.size:
            raise Disagreement(f"output {name!r} has {got.shape}, expected {expected.shape}")
        if expected.size:
            scale = max(float(np.abs(expected).max()), FLOOR)
            error = float(np.abs(got.reshape(expected.shape) - expected).max()) / scale
            worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst


def agree(who: str, found: Outputs, reference: Outputs) -> float:
    """`difference`, refused when it is more than rounding.

    Raises:
        Disagreement: says who and by how much.
    """
    error = difference(found, reference)
    if error > TOLERANCE:
        raise Disagreement(f"{who} differs from onnxruntime by {error:.1e} of the largest magnitude (allowed: {TOLERANCE:.0e})")
    return error


def busy(seconds: float = 0.5) -> float:
    """The share of the machine in use right now, 0…1; where the system does not say, from the load average."""

    def ticks() -> tuple[int, int]:
        fields = [int(f) for f in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4], sum(fields)

    if not Path("/proc/stat").exists():
        return min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    before = ticks()
    time.sleep(seconds)
    after = ticks()
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def wait_until_quiet(limit: float, most: float = 0.1) -> None:
    """Sleep until others use less than `most` of the machine, for `limit` seconds at the longest."""
    end = time.monotonic() + limit
    while time.monotonic() < end and busy(1.0) > most:
        time.sleep(min(5.0, max(0.0, end - time.monotonic())))


def conditions() -> dict[str, Any]:
    """When a case was measured, and what else the machine was doing."""
    load = [round(x, 2) for x in os.getloadavg()]
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "load": load[0], "busy": round(busy(), 2)}


def machine() -> dict[str, str]:
    """Processor, cores and system, for the report."""
    model, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in lines.items()}
        model = named.get("model name", model)
        known = ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd")
        flags = " ".join(f for f in known if f in named.get("flags", named.get("Features", "")).split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": f"{model} ({flags})" if flags else model,
        "cores": str(cores),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
