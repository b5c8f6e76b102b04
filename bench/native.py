"""Native: hither, ONNX Runtime and OpenVINO, alternating in one process; start-up and memory in a process of their own.

Steady state is measured with all contestants loaded, in a fresh process per case, so that no thread pool of an earlier one
is left. What a program costs before its first answer, and what it keeps, can only be seen in a process that does nothing
else. `python -m bench.native steady NET THREADS ROUNDS` and `… once ENGINE NET THREADS` are those processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hither.runtime.object_cache import cache_directory

from . import measure
from .engines import ENGINES, Call, Unavailable
from .nets import NETS, ROOT, Net

_TIMED = ("import_s", "load_s", "first_ms", "growth_bytes", "peak_bytes")


def steady(net: Net, threads: int, rounds: int) -> dict[str, Any]:
    """Times of all contestants on one net, each checked against ONNX Runtime first."""
    net.path()
    record = measure.conditions()
    done = _python("steady", net.name, str(threads), str(rounds))
    if done.returncode:
        raise RuntimeError(f"{net.name} on {threads} threads failed:\n{done.stderr[-3000:]}")
    return {**record, **json.loads(done.stdout.splitlines()[-1]), "load_after": round(os.getloadavg()[0], 2)}


def _steady(net: Net, threads: int, rounds: int) -> dict[str, Any]:
    skipped, contestants = {}, {}
    calls: dict[str, Call] = {}
    kept = []  # a Program or session lives as long as its call
    for name, make in ENGINES.items():
        try:
            calls[name], engine = make(net, threads)
            kept.append(engine)
        except Unavailable as error:
            skipped[name] = str(error)
    reference = calls["onnxruntime"]()
    errors = {}
    for name, call in list(calls.items()):
        try:
            errors[name] = measure.agree(name, call(), reference)
        except measure.Disagreement as error:
            if name == "hither":
                raise
            skipped[name] = str(error)
            del calls[name]
    for name, times in measure.alternate(calls, rounds).items():
        contestants[name] = {**measure.summary(times), "error": errors[name]}
    return {"contestants": contestants, "skipped": skipped}


def start(net: Net, threads: int, repeats: int) -> dict[str, Any]:
    """What each contestant costs up to its first answer, alone in a fresh process; hither with a cold and a warm cache."""
    net.path()  # a download is nobody's start-up time
    record: dict[str, Any] = {**measure.conditions(), "contestants": {}, "skipped": {}}
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="hither-bench-") as cache:
            packages = cache_directory() / "packages"
            if packages.is_dir():  # models are fetched already; only compiled code starts cold
                Path(cache, "packages").symlink_to(packages)
            for label, engine in (("hither", "hither"), ("hither, cached", "hither"), *((e, e) for e in list(ENGINES)[1:])):
                if label in record["skipped"]:
                    continue
                done = _python("once", engine, net.name, str(threads), HITHER_CACHE_DIR=cache)
                if done.returncode == 0:
                    found.setdefault(label, []).append(json.loads(done.stdout.splitlines()[-1]))
                elif engine == "hither":
                    raise RuntimeError(f"starting {net.name} failed:\n{done.stderr[-3000:]}")
                else:
                    lines = done.stderr.strip().splitlines()
                    record["skipped"][label] = lines[-1][:160] if lines else f"exit status {done.returncode}"
    for label, runs in found.items():
        medians = {key: float(np.median([run[key] for run in runs])) for key in _TIMED}
        record["contestants"][label] = {**runs[-1], **medians}
    record["load_after"] = round(os.getloadavg()[0], 2)
    return record


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.native", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=900)


def _resident() -> tuple[int, int]:
    """Resident bytes of this process, now and at most."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024


def _once(engine: str, net: Net, threads: int) -> dict[str, Any]:
    """Import, load, run once, run some more; everything timed and weighed."""
    net.feeds()
    began = time.perf_counter()
    # What comes with the first use of a runtime counts as its import, not as its model.
    if engine == "hither":
        import llvmlite.binding  # noqa: F401

        import hither.formats.onnx
        import hither.program
        import hither.runtime.cpu  # noqa: F401
    else:
        with contextlib.suppress(ImportError):  # the engine itself says what is missing
            __import__(engine)
    imported = time.perf_counter()
    idle = _resident()[0] if Path("/proc/self/status").exists() else 0
    call, made = ENGINES[engine](net, threads)
    ready = time.perf_counter()
    call()
    first = time.perf_counter()
    for _ in range(5):
        call()
    record = {
        "import_s": imported - began,
        "load_s": ready - imported,
        "first_ms": (first - ready) * 1e3,
        "growth_bytes": 0,
        "peak_bytes": 0,
    }
    if idle:
        now, most = _resident()
        record.update(growth_bytes=now - idle, peak_bytes=most - idle)
    if engine == "hither":
        record["memory"] = made.memory()
        record["counts"] = made.statistics()
    return record


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    try:
        if what == "steady":
            chosen, count, turns = arguments
            print(json.dumps(_steady(NETS[chosen], int(count), int(turns))))
        else:
            asked, chosen, count = arguments
            print(json.dumps(_once(asked, NETS[chosen], int(count))))
    except Unavailable as error:
        sys.exit(str(error))
