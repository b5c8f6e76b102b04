"""How close the wasm printer's code comes to the machine: an f32 GEMM microkernel in Chromium, against multiply-adds alone.

The kernels are written with the Builder by hand, so this measures the printer and the engine, not a template. A ratio below
0.85 says that the printer emits something that V8 does not like: spilled accumulators, addresses computed in the inner loop.

    python bench/gemm_wasm.py [--size 516] [--rounds 30]
"""

from __future__ import annotations

import argparse
import base64
import time
from pathlib import Path

import numpy as np

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.ir import Kernel, Machine
from hither.kernels.steps import Code, Launch, Ref
from hither.targets.wasm.printer import WasmModule, print_module

MACHINE = Machine("wasm")
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
PEAK_TRIPS = 1_000_000  # some 4 ms: the page's clock ticks in 0.1 ms
PEAK_CHAINS = 12  # independent, so that latency (4 cycles, 2 a cycle) hides


def gemm(rows: int, columns: int, depth: int, tile: tuple[int, int]) -> Kernel:
    """C[rows, columns] = A[rows, depth] · B, with B in panels [columns / tile width][depth][tile width]."""
    height, width = tile
    vectors = width // 4
    k = Builder(MACHINE, 4)
    a, b = k.buffer("a", dt.float32, rows * depth), k.buffer("b", dt.float32, columns * depth)
    c = k.buffer("c", dt.float32, rows * columns, "write")
    zero = k.const(0.0, dt.float32, 4)
    with k.loop(0, rows, height, kind="parallel") as row, k.loop(0, columns // width) as panel:
        with k.loop(0, depth, init=[zero] * (height * vectors)) as inner:
            right = [k.load(b, panel.index * (depth * width) + inner.index * width + 4 * j, 4) for j in range(vectors)]
            sums = []
            for i in range(height):
                left = k.broadcast(k.load(a, row.index * depth + inner.index + i * depth), 4)
                sums += [k.fma(left, right[j], inner.carried[i * vectors + j]) for j in range(vectors)]
            inner.yield_(*sums)
        for i in range(height):
            for j in range(vectors):
                k.store(c, row.index * columns + panel.index * width + (i * columns + 4 * j), inner.results[i * vectors + j], 4)
    return k.finish(f"gemm_{height}x{width}")


def peak() -> Kernel:
    """Nothing but multiply-adds in registers.

    With plain SIMD both the multiplication and the addition are on each chain's critical path, which a GEMM's are not: there
    the figure is a lower bound of the peak, and ratios exceed 1.
    """
    k = Builder(MACHINE, 4)
    out = k.buffer("out", dt.float32, 4, "write")
    x, y = k.const(0.999, dt.float32, 4), k.const(0.001, dt.float32, 4)
    with k.loop(0, PEAK_TRIPS, init=[k.const(float(i), dt.float32, 4) for i in range(PEAK_CHAINS)]) as loop:
        loop.yield_(*(k.fma(v, x, y) for v in loop.carried))
    total = loop.results[0]
    for v in loop.results[1:]:
        total = total + v
    k.store(out, 0, total)
    return k.finish("peak")


def measure(module: WasmModule, regions: list[bytes], rounds: int) -> tuple[dict[str, list[float]], bytes]:
    """Seconds per call of each entry in headless Chromium, and the io region afterwards."""
    from playwright.sync_api import sync_playwright

    job, offset = [], 4096
    for content in regions:
        job.append({"offset": offset, "bytes": len(content), "data": base64.b64encode(content).decode()})
        offset += -(-len(content) // 256) * 256
    request = {
        "module": base64.b64encode(module.bytes).decode(),
        "entries": list(module.entries),
        "regions": job,
        "pages": -(-offset // 65536),
        "rounds": rounds,
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page()
        page.goto(Path(__file__).with_suffix(".html").as_uri())
        answer = page.evaluate("measure", request)
        browser.close()
    return answer["seconds"], base64.b64decode(answer["out"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=480, help="rows, columns and depth; a multiple of 120 suits every tile")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    n = options.size
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    panels = np.ascontiguousarray(y.reshape(n, n // 8, 8).transpose(1, 0, 2))
    a, b = Ref("weights", 0, x.nbytes), Ref("weights", x.nbytes, y.nbytes)
    c = Ref("io", 0, x.nbytes)
    for relaxed in (True, False):
        tiles = {f"{h}x8": gemm(n, n, n, (h, 8)) for h in (6, 5, 4) if n % h == 0}
        kernels = [peak(), *tiles.values()]
        entries = {"peak": (Launch(0, (c,)),)}
        entries |= {name: (Launch(i, (a, b, c)),) for i, name in enumerate(tiles, 1)}
        start = time.perf_counter()
        module = print_module(Code(kernels, entries), MACHINE, relaxed)
        printing = time.perf_counter() - start
        seconds, out = measure(module, [x.tobytes() + panels.tobytes(), b"", b"", bytes(x.nbytes)], options.rounds)
        error = np.abs(np.frombuffer(out, np.float32).reshape(n, n) - x @ y).max()
        flops = {"peak": 8.0 * PEAK_TRIPS * PEAK_CHAINS} | dict.fromkeys(tiles, 2.0 * n**3)
        best = {name: flops[name] / min(times) / 1e9 for name, times in seconds.items()}
        median = {name: flops[name] / float(np.median(times)) / 1e9 for name, times in seconds.items()}
        kind = "relaxed" if relaxed else "plain"
        print(f"{kind} SIMD, {n}³, {len(module.bytes)} bytes printed in {printing * 1e3:.1f} ms, error {error:.1e}")
        for name in best:
            ratio = best[name] / best["peak"]
            print(f"  {name:5} GFLOP/s {best[name]:6.1f} best {median[name]:6.1f} median   {ratio:.2f} of peak")


if __name__ == "__main__":
    main()
