"""How near the native code generator comes to the machine: one f32 matrix product through Builder, against NumPy.

The kernel is the one that the gemm template makes for constant weights: B packed in panels, A rows read in place, a tile of
accumulators carried through the loop over K. Packing is not timed (weights are packed once, when they are loaded).

    python bench/gemm_native.py [--size 512] [--threads 1] [--tile 12x32]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.ir import Kernel, Machine
from hither.kernels.steps import ALIGN, Code, Launch, Ref
from hither.runtime import cpu
from hither.runtime.host_memory import aligned_empty


def gemm_kernel(machine: Machine, m: int, n: int, k_size: int, rows: int, columns: int) -> Kernel:
    """C = A·B, with B as panels [n / columns][k][columns]. The last tile of rows overlaps the one before it."""
    k = Builder(machine)
    lanes = machine.lanes(32)
    vectors = columns // lanes
    a = k.buffer("a", dt.float32, m * k_size)
    b = k.buffer("b", dt.float32, n * k_size)
    c = k.buffer("c", dt.float32, m * n, "write")
    zero = k.const(0.0, dt.float32, lanes)
    row_tiles = -(-m // rows)
    with k.loop(0, n // columns, kind="parallel") as panel:
        base = panel.index * (columns * k_size)
        with k.loop(0, row_tiles) as tile:
            row = k.min(tile.index * rows, m - rows)
            start = row * k_size
            with k.loop(0, k_size, init=[zero] * (rows * vectors)) as inner:
                at = base + inner.index * columns
                right = [k.load(b, at + v * lanes, lanes) for v in range(vectors)]
                position = start + inner.index
                new = []
                for r in range(rows):
                    left = k.broadcast(k.load(a, position + r * k_size), lanes)
                    new += [k.fma(left, right[v], inner.carried[r * vectors + v]) for v in range(vectors)]
                inner.yield_(*new)
            for r in range(rows):
                for v in range(vectors):
                    k.store(c, (row + r) * n + panel.index * columns + v * lanes, inner.results[r * vectors + v])
    return k.finish("gemm")


def timed(function: Callable[[], object], rounds: int) -> float:
    """Seconds of one call, from a batch long enough to measure."""
    start = time.perf_counter()
    for _ in range(rounds):
        function()
    return (time.perf_counter() - start) / rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tile", default=None, help="rows x columns; by vector width if not given")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    machine = cpu.host_machine()
    tile = (
        options.tile
        or {512: "12x32", 256: "6x16", 128: "8x8" if machine.vector_registers == 32 else "6x8"}[machine.vector_bits]
    )
    rows, columns = map(int, tile.split("x"))
    size = options.size // columns * columns
    nbytes = -(-size * size * 4 // ALIGN) * ALIGN
    refs = tuple(Ref("io", i * nbytes, size * size * 4) for i in range(3))
    code = Code([gemm_kernel(machine, size, size, size, rows, columns)], {"main": (Launch(0, refs),)}, {"io": 3 * nbytes})
    executable = cpu.CpuExecutable(code, machine)
    io, none = aligned_empty(3 * nbytes), aligned_empty(0)
    a, packed, c = (io[r.offset : r.offset + r.nbytes].view(np.float32).reshape(size, size) for r in refs)
    rng = np.random.default_rng(0)
    a[:], b = rng.standard_normal((size, size)), rng.standard_normal((size, size)).astype(np.float32)
    packed.reshape(-1)[:] = b.reshape(size, size // columns, columns).transpose(1, 0, 2).reshape(-1)

    contenders = {
        f"hither {tile}": lambda: executable.run("main", none, none, io, options.threads),
        "numpy": lambda: a @ b,
    }
    for run in contenders.values():
        run()
    error = np.abs(c - a @ b).max() / np.abs(c).max()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):  # alternating, so that both see the same clock
        for name, run in contenders.items():
            times[name].append(timed(run, max(1, (256 // (size // 64)) // 8)))
    print(f"{machine.vector_bits}-bit vectors, {size}³, {options.threads} thread(s), relative error {error:.1e}")
    for name, seconds in times.items():
        best, middle = (2 * size**3 / s / 1e9 for s in (min(seconds), statistics.median(seconds)))
        print(f"  {name:14} {best:7.1f} GFLOP/s best {middle:7.1f} median")
    ratio = statistics.median(times["numpy"]) / statistics.median(times[f"hither {tile}"])
    print(f"  hither / numpy {ratio:.2f}")


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        print("set OPENBLAS_NUM_THREADS to the number of threads to compare with")
    main()
