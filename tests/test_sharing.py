"""Threads that share work under pressure: many short runs, several executables and Python threads, a machine that is busy.

If one of these fails, a program hangs, or a helper thread computes a chunk twice, not at all, or in another run's memory.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Kernel, Machine
from hither.kernels.sharing import CHUNKS_PER_THREAD, most_chunks, shared_work
from hither.kernels.steps import Code, Cond, Copy, Launch, Ref, While
from hither.runtime import cpu
from hither.targets.llvm import Target, print_module

from .native import MACHINE, NO_BYTES, Region, private_cache  # noqa: F401
from .wasm_kernels import MACHINE as WASM
from .wasm_kernels import printed
from .wasm_node import run_wasm_regions

SECONDS = 2.0  # of each test that repeats


def mixing(machine: Machine, n: int, add: int, grain: int = 1) -> Kernel:
    """y[i] = x[n-1-i] + add: every chunk reads what another thread may have written in the step before."""
    k = Builder(machine)
    x, y = k.buffer("x", dt.int32, n), k.buffer("y", dt.int32, n, "write")
    with k.loop(0, n, kind="parallel", grain=grain) as loop:
        k.store(y, loop.index, k.load(x, k.const(n - 1, INDEX) - loop.index) + add)
    return k.finish(f"mix{add}")


class Ping:
    """A small program that sends an array to and fro; its result says how many steps ran, and whether all of each."""

    def __init__(self, n: int, add: int, steps: int) -> None:
        region = Region()
        self.n, self.total = n, add * steps * 2
        self.here, self.there = region.add(np.zeros(n, np.int32)), region.add(np.zeros(n, np.int32))
        chain = (Launch(0, (self.here, self.there)), Launch(0, (self.there, self.here))) * steps
        code = Code([mixing(MACHINE, n, add)], {"main": chain}, {"io": region.size})
        self.executable = cpu.CpuExecutable(code, MACHINE, worth_sharing=1)
        self.region = region

    def run(self, memory: np.ndarray, threads: int, start: int) -> bool:
        """One run over memory that belongs to the caller; whether its result is right."""
        values = memory[: 4 * self.n].view(np.int32)
        values[:] = np.arange(start, start + self.n)
        self.executable.run("main", NO_BYTES, NO_BYTES, memory, threads)
        return np.array_equal(values, np.arange(start, start + self.n) + self.total)


@pytest.fixture
def busy() -> Iterator[None]:
    """Something else that wants the processors."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait(10)


@pytest.mark.parametrize("threads", [2, 4])
def test_short_runs_of_two_programs_in_turn(threads: int) -> None:
    """A helper that is late for one program finds the other's step published: it must take that one's memory, or nothing."""
    programs = [Ping(64, 1, 3), Ping(1000, 7, 2)]
    memories = [p.region.memory() for p in programs]
    runs, end = 0, time.monotonic() + SECONDS / 2
    while time.monotonic() < end:
        for program, memory in zip(programs, memories):
            assert program.run(memory, threads, runs)
            runs += 1
    assert runs > 100


def test_memory_may_go_as_soon_as_a_run_returns() -> None:
    """Each run has an executable and regions of its own, unmapped at once: a helper that touched them later would crash."""
    end, runs = time.monotonic() + SECONDS / 2, 0
    while time.monotonic() < end:
        program = Ping(1 << 15, 1, 1)  # large enough that its memory goes back to the system
        assert program.run(program.region.memory(), 3, runs)
        runs += 1
        del program
    assert runs > 10


def test_several_python_threads_on_a_busy_machine(busy: None) -> None:
    """Two callers of one executable, each with its own regions as forks have, and a third with another executable."""
    shared, other = Ping(256, 1, 4), Ping(96, 5, 2)
    failures: list[int] = []
    runs = [0, 0, 0]
    end = time.monotonic() + SECONDS

    def work(index: int) -> None:
        program = other if index == 2 else shared
        memory = program.region.memory()
        while time.monotonic() < end:
            if not program.run(memory, 2 + index % 2, runs[index]):
                failures.append(index)
            runs[index] += 1

    callers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert not any(caller.is_alive() for caller in callers), "a run hangs"
    assert not failures and min(runs) > 0


def test_helpers_come_back_after_they_have_parked() -> None:
    program = Ping(1 << 14, 3, 20)
    memory = program.region.memory()
    for i in range(20):
        assert program.run(memory, 3, i)
        time.sleep(0.002 * (i % 3))


def test_results_do_not_depend_on_the_number_of_chunks() -> None:
    """Sums of floats over rows: chunks cut between rows, never inside one, so that every bit is the same."""
    rows, columns = 37, 211
    k = Builder(MACHINE, 16)
    x, y = k.buffer("x", dt.float32, rows * columns), k.buffer("y", dt.float32, rows, "write")
    with k.loop(0, rows, kind="parallel") as row:
        with k.loop(0, columns, init=[k.const(0.0, dt.float32)]) as loop:
            loop.yield_(loop.carried[0] + k.load(x, row.index * columns + loop.index))
        k.store(y, row.index, loop.results[0])
    region = Region()
    values = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    refs = (region.add(values), region.add(np.zeros(rows, np.float32)))
    code = Code([k.finish("sum")], {"main": (Launch(0, refs),)}, {"io": region.size})
    executable = cpu.CpuExecutable(code, MACHINE, worth_sharing=1)
    results = []
    for threads in (1, 2, 3, 7):
        memory = region.memory()
        executable.run("main", NO_BYTES, NO_BYTES, memory, threads)
        results.append(region.read(memory, refs[1]).tobytes())
    assert len(set(results)) == 1


def test_small_programs_wake_nobody() -> None:
    small, large = mixing(MACHINE, 1000, 1, grain=100), mixing(MACHINE, 100_000, 1, grain=100)
    refs = (Ref("io", 0, 400_000), Ref("io", 400_128, 400_000))
    code = Code([small, large], {"small": (Launch(0, refs),) * 3, "large": (Launch(1, refs),)}, {"io": 1 << 20})
    executable = cpu.CpuExecutable(code, MACHINE)
    assert executable._shared == {"small": False, "large": True}


def test_work_is_estimated_through_control_flow() -> None:
    """Steps that one thread runs anyway count for nothing."""
    kernels = [mixing(MACHINE, 100, 1, grain=10), mixing(MACHINE, 100, 2, grain=60)]
    assert [most_chunks(kernel) for kernel in kernels] == [10, 1]
    a, b, flag = Ref("io", 0, 400), Ref("io", 512, 400), Ref("io", 1024, 1)
    ten, none = Launch(0, (a, b)), Launch(1, (a, b))
    code = Code(kernels, {})
    assert shared_work(code, (ten, none, Cond(flag, (ten, ten), (none,)))) == 30
    assert shared_work(code, (While(flag, (ten, none), 5), Copy(a, b))) == 50


def test_kernels_too_small_to_share_are_called_directly() -> None:
    refs = (Ref("io", 0, 400), Ref("io", 512, 400))
    calls = [
        print_module(Code([mixing(MACHINE, 100, 1, grain)], {"main": (Launch(0, refs),)}), MACHINE, Target()).count(
            "call void @share("
        )
        for grain in (10, 60)
    ]
    assert calls == [1, 0] and CHUNKS_PER_THREAD > 1


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("threads", [2, 4])
def test_wasm_runs_one_after_the_other(threads: int, busy: None) -> None:
    """Many runs over one shared memory: helpers spin, sleep and are woken between and within them."""
    n, repeat, steps = 4096, 1500, 4
    here, there = Ref("io", 0, n * 4), Ref("arena", 0, n * 4)
    chain = [Launch(0, (here, there)), Launch(0, (there, here))] * steps
    module = printed([mixing(WASM, n, 1)], chain)
    io = np.arange(n, dtype=np.int32)
    got = run_wasm_regions(module, "main", arena=bytes(n * 4), io=io.tobytes(), threads=threads, repeat=repeat)
    np.testing.assert_array_equal(np.frombuffer(got["io"], np.int32), io + 2 * steps * repeat)
