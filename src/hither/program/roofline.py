"""The roofline of a device: how fast it multiplies and adds numbers of each kind, and reads data sets of each size, measured.

The kernels that measure are written in kernel IR and compiled like any other, so the ceilings are those of the very
instructions that programs are made of. Results are kept on disk: a machine is measured once per device and thread count.

S. Williams, A. Waterman, D. Patterson: Roofline: An Insightful Visual Performance Model (2009).
"""

from __future__ import annotations

import bisect
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .. import dtypes as dt
from ..kernels.builder import Builder
from ..kernels.ir import Kernel, Machine, Val
from ..kernels.steps import ALIGN, Code, Launch, Ref
from .stepping import NOTHING, WHOLE, stepper, versions
from .work import KINDS

_VERSION = "3"  # of the measurement; changes when its figures cannot be compared with older ones
_ENOUGH = 1e-3  # seconds that a measured kernel should take: far above what calls and clocks are off by
_SAMPLES = 25
_GROWTH = 4
_MOST_TRIPS = 1 << 16
_SETS = tuple(1 << n for n in (14, 16, 18, 20, 21, 22, 24, 25, 27))  # bytes, on CPUs
_GPU_SETS = tuple(1 << n for n in (16, 20, 24, 26))


@dataclass(frozen=True)
class Roofline:
    """What a device can do at most: operations per second by kind of arithmetic (`work.KINDS`; a multiply-add is two), and
    bytes per second by the size of the data set (bytes, rising)."""

    device: str
    threads: int
    peaks: Mapping[str, float]
    bandwidths: tuple[tuple[int, float], ...]

    def bandwidth(self, nbytes: int) -> float:
        """Bytes per second of reading a data set of this size, interpolated between those that were measured."""
        sizes = [size for size, _ in self.bandwidths]
        right = bisect.bisect_left(sizes, nbytes)
        if right in (0, len(sizes)):
            return self.bandwidths[min(right, len(sizes) - 1)][1]
        (low, slow), (high, fast) = self.bandwidths[right - 1 : right + 1]
        share = math.log(nbytes / low) / math.log(high / low)
        return slow * (fast / slow) ** share

    def least_seconds(self, operations: Mapping[str, float], nbytes: int) -> float:
        """The least time for this much work: whichever takes longer, its arithmetic or its memory traffic.

        The traffic is taken to come from the nearest cache that holds it all, so this is a bound, not a forecast.
        """
        return max(self._computing(operations), self._moving(nbytes))

    def bound(self, operations: Mapping[str, float], nbytes: int) -> str:
        """ "compute" or "memory": what the least time is made of."""
        return "compute" if nbytes == 0 or self._computing(operations) >= self._moving(nbytes) else "memory"

    def _computing(self, operations: Mapping[str, float]) -> float:
        return sum(count / self.peaks[kind] for kind, count in operations.items())

    def _moving(self, nbytes: int) -> float:
        return nbytes / self.bandwidth(nbytes) if nbytes else 0.0


def roofline(machine: Machine, threads: int = 1, again: bool = False) -> Roofline:
    """The roofline of this machine's device, from the disk cache if it was measured before.

    Args:
        machine: what programs are compiled for (`machine_for(device)`).
        threads: how many threads share the work; 1 on devices that have none.
        again: measure even so, and keep the better of both: what others do to the machine only slows it.
    """
    from ..runtime.object_cache import ObjectCache, cache_directory

    cache = ObjectCache(cache_directory() / "rooflines", limit=1 << 20)
    name = device_name(machine)
    key = cache.key(_VERSION, name, repr(machine), str(threads), json.dumps(dict(versions(machine)), sort_keys=True))
    found, kept = cache.get(key), None
    if found is not None:
        fields = json.loads(found)
        kept = Roofline(**{**fields, "bandwidths": tuple((int(s), float(b)) for s, b in fields["bandwidths"])})
        if not again:
            return kept
    made = measure(machine, threads, name)
    if kept is not None:
        made = better(kept, made)
    cache.put(key, json.dumps(asdict(made)).encode())
    return made


def measure(machine: Machine, threads: int, name: str = "") -> Roofline:
    """Measure now; takes some seconds. On CPUs everything is measured twice, some time apart, and the better counts."""

    def once() -> Roofline:
        bandwidths = []
        for size in _GPU_SETS if machine.gpu else _SETS:
            reads = _fastest(partial(_reading, machine, size), machine, threads)
            bandwidths.append((size, reads))
        peaks = {
            kind: max(_fastest(partial(_multiplying, machine, kind, n), machine, threads) for n in _chains(machine))
            for kind in _kinds(machine)
        }
        return Roofline(name, threads, peaks, tuple(bandwidths))

    return once() if machine.gpu else better(once(), once())


def better(a: Roofline, b: Roofline) -> Roofline:
    """The higher of each ceiling of two measurements of one device."""
    bandwidths = tuple((size, max(x, y)) for (size, x), (_, y) in zip(a.bandwidths, b.bandwidths, strict=True))
    return Roofline(a.device, a.threads, {kind: max(peak, b.peaks[kind]) for kind, peak in a.peaks.items()}, bandwidths)


@dataclass(frozen=True)
class _Probe:
    """A kernel and how much (operations or bytes) it does."""

    kernel: Kernel
    amount: float
    sizes: tuple[int, ...]  # bytes of its buffers


def _fastest(make: Callable[[int], _Probe], machine: Machine, threads: int) -> float:
    """Amount per second of a probe that runs long enough, at its best: what others do to the machine only slows it."""
    trips = 1
    while True:
        probe = make(trips)
        seconds = _times(probe, machine, threads, 3 if trips < _MOST_TRIPS else _SAMPLES)
        if min(seconds) >= _ENOUGH or trips >= _MOST_TRIPS:
            break
        trips = min(_MOST_TRIPS, trips * max(_GROWTH, int(_ENOUGH / max(min(seconds), _ENOUGH / 256))))
    return probe.amount / min(*seconds, *_times(probe, machine, threads, _SAMPLES))


def _times(probe: _Probe, machine: Machine, threads: int, samples: int) -> list[float]:
    places, end = [], 0
    for nbytes in probe.sizes:
        places.append(Ref("arena", end, nbytes))
        end += -(-nbytes // ALIGN) * ALIGN
    floats = sum(probe.sizes[:1]) // 4
    fill = Launch(1, (places[0],))
    code = Code(
        [probe.kernel, _filling(machine, floats)],
        {"fill": (fill,), "probe": (Launch(0, tuple(places)),), WHOLE: (fill, Launch(0, tuple(places))), NOTHING: ()},
        {"weights": 0, "state": 0, "arena": end, "io": ALIGN},
    )
    on = stepper(code, machine, np.zeros(0, np.uint8), threads, least=1)
    on.seconds("fill")  # memory that was never written is all one page
    on.seconds("probe")
    deadline = time.perf_counter() + 0.3
    found: list[float] = []
    while len(found) < samples and (not found or time.perf_counter() < deadline):
        found.append(max(on.seconds("probe"), 1e-9))
    return found


# -- probes --------------------------------------------------------------------------------------------------------------


def _kinds(machine: Machine) -> tuple[str, ...]:
    """The kinds of arithmetic that the machine has."""
    if not machine.dot:
        return ("float32",)
    return ("float32", "bytes") if machine.gpu else ("float32", "bytes", "pairs")


def _chains(machine: Machine) -> tuple[int, ...]:
    """Numbers of independent accumulators to try: enough to hide a multiply-add's latency, few enough for the registers."""
    return (8,) if machine.gpu else (8, 12)


def _ways(machine: Machine) -> int:
    """Pieces that the work is cut into: GPU invocations, or chunks that any number of threads share evenly."""
    return 1 << 14 if machine.gpu else 96


def _filling(machine: Machine, floats: int) -> Kernel:
    k = Builder(machine)
    width = machine.lanes(32)
    target = k.buffer("target", dt.float32, floats, "write")
    with k.loop(0, floats // width, kind="parallel") as each:
        k.store(target, each.index * width, k.broadcast(k.const(0.5, dt.float32), width))
    return k.finish("roofline_fill")


def _sum(values: tuple[Val, ...]) -> Val:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _multiplying(machine: Machine, kind: str, chains: int, trips: int) -> _Probe:
    """x ← x·a + a, in `chains` independent chains per thread: at a = ½ it stays near 1. Integers add x, so that no product is
    the same from turn to turn."""
    k = Builder(machine)
    width, ways, unroll = machine.lanes(32), _ways(machine), 4
    stored = dt.float32 if kind == "float32" else dt.int32
    source = k.buffer("source", stored, chains * width)
    target = k.buffer("target", stored, ways * width, "write")

    def step(x: Val) -> Val:
        match kind:
            case "bytes":
                return k.dot(x, a, x, seven_bits=True)
            case "pairs":
                return k.dot_pairs(x, a, x)
        return k.fma(x, a, a)

    with k.loop(0, ways, kind="parallel") as each:
        a = k.load(source, 0, width)
        start = [k.load(source, i * width, width) for i in range(chains)]
        with k.loop(0, 16 * trips, init=start) as loop:
            x = loop.carried
            for _ in range(unroll):
                x = tuple(map(step, x))
            loop.yield_(*x)
        k.store(target, each.index * width, _sum(loop.results))
    amount = 2.0 * KINDS[kind] * width * chains * unroll * 16 * trips * ways
    return _Probe(k.finish(f"roofline_multiply_add_{kind}"), amount, (4 * chains * width, 4 * ways * width))


def _reading(machine: Machine, nbytes: int, trips: int) -> _Probe:
    """Sums of a data set's elements, `trips` times over: each way adds up a contiguous part, in eight accumulators.

    On a GPU neighbouring invocations read neighbouring elements.
    """
    k = Builder(machine)
    width, lanes = machine.lanes(32), 8
    floats = nbytes // 4
    ways = min(_ways(machine) if machine.gpu else 64, floats // (width * lanes))
    part = floats // ways
    step = ways if machine.gpu else width
    source = k.buffer("source", dt.float32, floats)
    target = k.buffer("target", dt.float32, ways * width, "write")
    with k.loop(0, ways, kind="parallel") as each:
        first = each.index if machine.gpu else each.index * part
        zero = k.broadcast(k.const(0.0, dt.float32), width)
        with k.loop(0, trips, init=[zero] * lanes) as again:
            with k.loop(0, part // (width * lanes), init=again.carried) as loop:
                at = first + loop.index * (lanes * step)
                loop.yield_(*(x + k.load(source, at + i * step, width) for i, x in enumerate(loop.carried)))
            again.yield_(*loop.results)
        k.store(target, each.index * width, _sum(again.results))
    amount = 4.0 * (part // (width * lanes)) * width * lanes * ways * trips
    return _Probe(k.finish("roofline_read"), amount, (nbytes, 4 * ways * width))


# -- names ---------------------------------------------------------------------------------------------------------------


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def device_name(machine: Machine) -> str:
    """What the machine is, for people: processor or adapter."""
    if machine.gpu:
        from ..runtime.webgpu_device import device

        info = device().info
        return " ".join(str(info[key]) for key in ("device", "description", "backend_type") if info.get(key))
    kind = f"{machine.vector_bits}-bit vectors" if machine.name == "llvm" else "WebAssembly simd128"
    return f"{processor()}, {os.cpu_count()} CPUs, {kind}"
